package source

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// opener opens a storage, as the steps after mount-check do.
func opener(storage Storage) Opener {
	return func(context.Context) (Files, error) { return storage.Open() }
}

// symlink creates a symbolic link in a directory, and the directories it needs.
func symlink(t *testing.T, dir, name, target string) string {
	t.Helper()
	at := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
	require.NoError(t, os.Symlink(target, at))
	return at
}

// replaceLink lets a link lead elsewhere, in one step.
func replaceLink(t *testing.T, at, target string) {
	t.Helper()
	require.NoError(t, os.Symlink(target, at+"~"))
	require.NoError(t, os.Rename(at+"~", at))
}

// contents returns the files of a plan and what is read of them.
func contents(t *testing.T, files Files, plan layer.Plan) map[string]string {
	t.Helper()
	read := map[string]string{}
	for _, e := range plan.Entries() {
		assert.NotEqual(t, layer.Symlink, e.Type, e.Path)
		if e.Type != layer.File {
			continue
		}
		var content bytes.Buffer
		_, err := Read(t.Context(), files, e, &content)
		require.NoError(t, err)
		read[e.Path] = content.String()
	}
	return read
}

// The snapshots of the cache of Hugging Face consist of links to its blobs.
func TestListFollowsLinks(t *testing.T) {
	volume := t.TempDir()
	const repo = "hub/models--org--name"
	put(t, volume, repo+"/blobs/1", complete)
	put(t, volume, repo+"/blobs/2", "{}")
	put(t, volume, "shared/tokenizer/vocab.json", "[]")
	put(t, volume, "shared/tokenizer/empty/.keep", "")
	symlink(t, volume, repo+"/snapshots/abc/model.safetensors", "../../blobs/1")
	symlink(t, volume, repo+"/snapshots/abc/config.json", "../../blobs/2")
	symlink(t, volume, repo+"/snapshots/abc/again.json", "config.json")
	symlink(t, volume, repo+"/snapshots/abc/tokenizer", "../../../../shared/tokenizer")
	symlink(t, volume, repo+"/current", "snapshots/abc")
	want := map[string]string{
		"model.safetensors": complete, "config.json": "{}", "again.json": "{}", "tokenizer/vocab.json": "[]", "tokenizer/empty/.keep": "",
	}
	for _, subPath := range []string{repo + "/snapshots/abc", repo + "/current"} {
		t.Run(subPath, func(t *testing.T) {
			storage := Storage{Mount: volume, SubPath: subPath, FollowLinks: true}
			files, plan, err := planOfStorage(t, &storage)
			require.NoError(t, err)
			assert.Equal(t, want, contents(t, files, plan))
			require.NoError(t, CheckComplete(t.Context(), files, plan))
			require.NoError(t, CheckUnchanged(t.Context(), opener(storage), plan))
		})
	}
}

func TestListFollowsLinksWithPatterns(t *testing.T) {
	volume := t.TempDir()
	put(t, volume, "blobs/1", "model")
	put(t, volume, "old/x", "x")
	symlink(t, volume, "model/model.gguf", "../blobs/1")
	symlink(t, volume, "model/checkpoint-1", "../old")
	symlink(t, volume, "model/broken", "nothing")
	symlink(t, volume, "model/out", "../../x")
	put(t, volume, "rules", "broken\nout\n")
	symlink(t, volume, "model/"+layer.IgnoreFile, "../rules")
	storage := Storage{Mount: volume, SubPath: "model", FollowLinks: true, Patterns: layer.Patterns{Exclude: []string{"checkpoint-*/"}}}
	files, plan, err := planOfStorage(t, &storage)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"model.gguf": "model"}, contents(t, files, plan))
	assert.Equal(t, []string{"checkpoint-1/"}, plan.Excluded.Names[:1])
}

// A link that cannot be followed fails the build, with the reason SourceUnsafe.
func TestListRejectsLinksThatCannotBeFollowed(t *testing.T) {
	tests := map[string]struct {
		make func(t *testing.T, volume string)
		want string
	}{
		"out of the volume": {
			make: func(t *testing.T, volume string) { symlink(t, volume, "model/link", "../../secret") },
			want: `"link" is a symbolic link to "../../secret", which is not in the mounted volume: replace it with a relative link to a file of the volume`,
		},
		"absolute": {
			make: func(t *testing.T, volume string) {
				symlink(t, volume, "model/link", filepath.Join(volume, "model/model.gguf"))
			},
			want: "which is not in the mounted volume",
		},
		"through a directory out of the volume": {
			make: func(t *testing.T, volume string) {
				symlink(t, volume, "out", "..")
				symlink(t, volume, "model/link", "../out/secret")
			},
			want: "which is not in the mounted volume",
		},
		"dangling": {
			make: func(t *testing.T, volume string) { symlink(t, volume, "model/link", "nothing") },
			want: `"link" is a symbolic link to "nothing", which does not exist`,
		},
		"a loop of links": {
			make: func(t *testing.T, volume string) {
				symlink(t, volume, "model/link", "other")
				symlink(t, volume, "model/other", "link")
			},
			want: "which is part of a loop",
		},
		"a chain of many links": {
			make: func(t *testing.T, volume string) {
				for i := range 9 {
					symlink(t, volume, fmt.Sprintf("model/%d", i), fmt.Sprint(i+1))
				}
				put(t, volume, "model/9", "x")
			},
			want: `"0" is a symbolic link to "1", which is part of a loop, or of a chain of more than eight links`,
		},
		"the directory itself": {
			make: func(t *testing.T, volume string) { symlink(t, volume, "model/link", ".") },
			want: `"link" leads to a directory that it is in, through a symbolic link`,
		},
		"a directory above": {
			make: func(t *testing.T, volume string) { symlink(t, volume, "model/a/b/link", "../../../model/a") },
			want: `"a/b/link" leads to a directory that it is in, through a symbolic link`,
		},
		"a directory above the model": {
			make: func(t *testing.T, volume string) { symlink(t, volume, "model/link", "..") },
			want: `"link/model" leads to a directory that it is in, through a symbolic link`,
		},
		"directories that are nested deeply": {
			make: func(t *testing.T, volume string) { put(t, volume, "model/"+strings.Repeat("a/", 41)+"b", "") },
			want: "directories are nested more than 40 deep",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			put(t, parent, "secret", "secret")
			volume := filepath.Join(parent, "volume")
			put(t, volume, "model/model.gguf", "x")
			tt.make(t, volume)
			storage := Storage{Mount: volume, SubPath: "model", FollowLinks: true}
			_, _, err := planOfStorage(t, &storage)
			assertReason(t, v1alpha1.ReasonSourceUnsafe, err)
			assert.Contains(t, failure.Of(err).Message, tt.want)
		})
	}
}

func TestListFollowsLinksToTheDeepestDirectory(t *testing.T) {
	volume := t.TempDir()
	deepest := strings.Repeat("a/", maxDepth)
	put(t, volume, deepest+"b", "")
	storage := Storage{Mount: volume, FollowLinks: true}
	_, plan, err := planOfStorage(t, &storage)
	require.NoError(t, err)
	assert.Contains(t, plannedPaths(plan), deepest+"b")
}

// Few links can stand for an unlimited number of files.
func TestListLimitsWhatLinksMultiply(t *testing.T) {
	volume := t.TempDir()
	const levels, entries = 6, 1000
	for level := range levels {
		for number := range 4 {
			symlink(t, volume, fmt.Sprintf("%d/%d", level, number), fmt.Sprintf("../%d", level+1))
		}
	}
	put(t, volume, fmt.Sprintf("%d/model.gguf", levels), "x")
	files, err := Storage{Mount: volume, SubPath: "0", FollowLinks: true}.Open()
	require.NoError(t, err)
	defer func() { _ = files.Close() }()
	l := lister{Directory: files, left: entries}
	top, err := l.enter(listedDir{}, layer.RootDir)
	require.NoError(t, err)
	require.ErrorIs(t, l.list(t.Context(), top), ErrTooMany)
	assert.LessOrEqual(t, len(l.entries), entries)
}

// While a build runs, a user lets a link, or a directory in its way, lead out of the
// volume. Nothing outside is read.
func TestFollowedLinksNeverLeadOut(t *testing.T) {
	const inside, outside = "weights", "secrets"
	tests := map[string]struct {
		change func(t *testing.T, volume string)
	}{
		"the link of a file": {func(t *testing.T, volume string) { replaceLink(t, filepath.Join(volume, "model/file"), "../../out/a") }},
		"an absolute link": {func(t *testing.T, volume string) {
			replaceLink(t, filepath.Join(volume, "model/file"), filepath.Join(volume, "../out/a"))
		}},
		"the link of a directory": {func(t *testing.T, volume string) { replaceLink(t, filepath.Join(volume, "model/dir"), "../../out") }},
		"the target of a link":    {func(t *testing.T, volume string) { replaceLink(t, filepath.Join(volume, "blobs/link"), "../../out/a") }},
		"the directory of a model": {func(t *testing.T, volume string) {
			require.NoError(t, os.Rename(filepath.Join(volume, "model"), filepath.Join(volume, "moved")))
			symlink(t, volume, "model", "../out")
		}},
		"to another file of the volume": {func(t *testing.T, volume string) { replaceLink(t, filepath.Join(volume, "model/file"), "../other") }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			volume := filepath.Join(parent, "volume")
			put(t, parent, "out/a", outside)
			put(t, parent, "out/file", outside)
			put(t, volume, "blobs/a", inside)
			symlink(t, volume, "blobs/link", "a")
			put(t, volume, "other", "other weights")
			symlink(t, volume, "model/file", "../blobs/link")
			symlink(t, volume, "model/dir", "../blobs")
			storage := Storage{Mount: volume, SubPath: "model", FollowLinks: true}
			files, plan, err := planOfStorage(t, &storage)
			require.NoError(t, err)

			tt.change(t, volume)

			failed := 0
			dir := files.FS(t.Context(), plan)
			for _, e := range plan.Entries() {
				if e.Type != layer.File {
					continue
				}
				var content bytes.Buffer
				if _, err := Read(t.Context(), files, e, &content); err != nil {
					assertReason(t, v1alpha1.ReasonSourceChanging, err)
					failed++
				}
				assert.NotContains(t, content.String(), outside)
				header, err := fs.ReadFile(dir, e.Path)
				if err == nil {
					assert.Equal(t, inside, string(header))
				}
			}
			assert.Positive(t, failed)
			require.Error(t, CheckUnchanged(t.Context(), opener(storage), plan))
		})
	}
}

// The link changes again and again, between all calls of the system.
func TestFollowedLinksNeverLeadOutInARace(t *testing.T) {
	parent := t.TempDir()
	volume := filepath.Join(parent, "volume")
	put(t, parent, "out/a", "secrets")
	put(t, parent, "out/secret", "secrets")
	put(t, volume, "blobs/a", "weights")
	link := symlink(t, volume, "model/dir", "../blobs")
	info, err := os.Stat(filepath.Join(volume, "blobs/a"))
	require.NoError(t, err)
	require.NoError(t, os.Chtimes(filepath.Join(parent, "out/a"), info.ModTime(), info.ModTime()))
	storage := Storage{Mount: volume, SubPath: "model", FollowLinks: true}
	files, plan, err := planOfStorage(t, &storage)
	require.NoError(t, err)
	planned := plan.Entries()[len(plan.Entries())-1]
	require.Equal(t, "dir/a", planned.Path)

	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			for _, target := range []string{"../../out", "../blobs"} {
				select {
				case <-stop:
					return
				default:
				}
				assert.NoError(t, os.Symlink(target, link+"~"))
				assert.NoError(t, os.Rename(link+"~", link))
			}
		}
	}()
	for range 2000 {
		reader, err := files.Open(t.Context(), planned, 0)
		if err == nil {
			var content []byte
			content, err = io.ReadAll(reader)
			_ = reader.Close()
			if err == nil {
				assert.Equal(t, "weights", string(content))
			}
		}
		if err != nil {
			assertReason(t, v1alpha1.ReasonSourceChanging, err)
		}
		// A listing may find the link in either state, but nothing behind it outside.
		listing, err := files.List(t.Context())
		if err != nil {
			assert.Contains(t, []string{v1alpha1.ReasonSourceUnsafe, v1alpha1.ReasonSourceChanging}, failure.Of(err).Reason, err)
		} else {
			for _, e := range listing {
				assert.NotContains(t, e.Path, "secret")
			}
		}
	}
	close(stop)
	<-stopped
}

// Package os has no name for the error that it returns.
func TestLeadsOut(t *testing.T) {
	dir := t.TempDir()
	symlink(t, dir, "out", "..")
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer func() { _ = root.Close() }()
	for name, want := range map[string]bool{"out": true, "..": true, "/": true, "nothing": false} {
		t.Run(name, func(t *testing.T) {
			_, err := root.Stat(name)
			require.Error(t, err)
			assert.Equal(t, want, leadsOut(err), err)
		})
	}
	assert.False(t, leadsOut(&fs.PathError{Op: "open", Path: "a", Err: fs.ErrNotExist}))
	assert.False(t, leadsOut(nil))
}
