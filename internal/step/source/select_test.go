package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
)

// planOfStorage checks the storage and returns the plan of its files.
func planOfStorage(t *testing.T, storage *Storage) (*Directory, layer.Plan, error) {
	t.Helper()
	files, err := storage.Check()
	if err != nil {
		return nil, layer.Plan{}, err
	}
	t.Cleanup(func() { _ = files.Close() })
	listing, err := files.List(t.Context())
	if err != nil {
		return nil, layer.Plan{}, err
	}
	plan, err := layer.NewPlan(listing)
	return files, plan, err
}

// plannedPaths returns the paths of a plan's entries.
func plannedPaths(plan layer.Plan) []string {
	var paths []string
	for _, e := range plan.Entries() {
		paths = append(paths, e.Path)
	}
	return paths
}

func TestListSelectsFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"model.gguf", "config.json", ".git/config", "logs/1.log", "logs/2.log", "a/b/model.gguf", "a/b/notes.txt"} {
		put(t, dir, name, "x")
	}
	put(t, dir, layer.IgnoreFile, "# Not the model\n*.log\n*.txt\n")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	storage := Storage{Mount: dir, Patterns: layer.Patterns{Include: []string{"*.gguf", "*.txt", "*.log"}, Exclude: []string{"!notes.txt", ".git/"}}}

	_, plan, err := planOfStorage(t, &storage)

	require.NoError(t, err)
	assert.Equal(t, []string{".", "a", "a/b", "a/b/model.gguf", "a/b/notes.txt", "empty", "model.gguf"}, plannedPaths(plan))
	assert.Equal(t, layer.Patterns{Include: []string{"*.gguf", "*.txt", "*.log"}, Exclude: []string{"*.log", "*.txt", "!notes.txt", ".git/"}}, storage.Patterns)
	assert.Equal(t, layer.Excluded{Dirs: 1, Files: 3, Bytes: 3, Names: []string{".git/", "config.json", "logs/1.log", "logs/2.log"}}, plan.Excluded)
}

// What is excluded need not be readable, finished or free of broken links.
func TestListIgnoresProblemsOfWhatIsExcluded(t *testing.T) {
	for _, follow := range []bool{false, true} {
		t.Run(fmt.Sprintf("follow links: %t", follow), func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, "model.gguf", "x")
			put(t, dir, "tmp/model.gguf.part", "x")
			put(t, dir, "model.bin.incomplete", "x")
			require.NoError(t, os.Chmod(put(t, dir, "secret", "x"), 0o000))
			put(t, dir, "private/x", "x")
			require.NoError(t, os.Chmod(filepath.Join(dir, "private"), 0o000))
			t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "private"), 0o755) })
			symlink(t, dir, "broken", "nothing")
			storage := Storage{Mount: dir, FollowLinks: follow, Patterns: layer.Patterns{Exclude: []string{"tmp/", "*.incomplete", "secret", "private/", "broken"}}}
			files, err := storage.Check()
			require.NoError(t, err)
			defer func() { _ = files.Close() }()
			dropPrivileges(t)
			listing, err := files.List(t.Context())
			require.NoError(t, err)
			plan, err := layer.NewPlan(listing)
			require.NoError(t, err)
			assert.Equal(t, []string{".", "model.gguf"}, plannedPaths(plan))
		})
	}
}

func TestListExcludesTooManyFilesOfADirectory(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "logs/1", "logs/2", "logs/3"} {
		put(t, dir, name, "x")
	}
	storage := Storage{Mount: dir, Patterns: layer.Patterns{Exclude: []string{"logs/"}}}
	files, err := storage.Check()
	require.NoError(t, err)
	defer func() { _ = files.Close() }()
	const entries = 2
	l := lister{Directory: files, left: entries}
	require.NoError(t, l.list(t.Context(), listedDir{path: layer.RootDir}), "what is excluded is not read")
}

func TestCheckRejectsPatterns(t *testing.T) {
	tests := map[string]struct {
		make         func(t *testing.T, dir string)
		patterns     layer.Patterns
		reason, want string
	}{
		"a pattern of the ModelVersion": {
			patterns: layer.Patterns{Exclude: []string{"["}},
			reason:   v1alpha1.ReasonInvalidSpec, want: `spec.build.exclude has the pattern "[", which is malformed`,
		},
		"a pattern of the file": {
			make:   func(t *testing.T, dir string) { put(t, dir, layer.IgnoreFile, "a\n[") },
			reason: v1alpha1.ReasonSourceUnsafe, want: `line 2 of .modelkilnignore has the pattern "[", which is malformed`,
		},
		"a large file": {
			make: func(t *testing.T, dir string) {
				put(t, dir, layer.IgnoreFile, strings.Repeat("a", layer.MaxIgnoreFileSize+1))
			},
			reason: v1alpha1.ReasonSourceUnsafe, want: ".modelkilnignore has more than 65536 bytes",
		},
		"a directory": {
			make:   func(t *testing.T, dir string) { put(t, dir, layer.IgnoreFile+"/a", "") },
			reason: v1alpha1.ReasonSourceUnsafe, want: ".modelkilnignore is not a file of the model's directory: replace it with one",
		},
		"a pipe": {
			make: func(t *testing.T, dir string) {
				require.NoError(t, syscall.Mkfifo(filepath.Join(dir, layer.IgnoreFile), 0o644))
			},
			reason: v1alpha1.ReasonSourceUnsafe, want: ".modelkilnignore is not a file",
		},
		"a broken link": {
			make: func(t *testing.T, dir string) {
				require.NoError(t, os.Symlink("nothing", filepath.Join(dir, layer.IgnoreFile)))
			},
			reason: v1alpha1.ReasonSourceUnsafe, want: ".modelkilnignore is not a file",
		},
		"a link that leads out": {
			make: func(t *testing.T, dir string) {
				require.NoError(t, os.Symlink("../secret", filepath.Join(dir, layer.IgnoreFile)))
			},
			reason: v1alpha1.ReasonSourceUnsafe, want: ".modelkilnignore is not a file",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			put(t, parent, "secret", "a")
			dir := filepath.Join(parent, "model")
			put(t, dir, "model.gguf", "x")
			if tt.make != nil {
				tt.make(t, dir)
			}
			storage := Storage{Mount: dir, Patterns: tt.patterns}
			_, err := storage.Check()
			assertReason(t, tt.reason, err)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

// The patterns do not change during a build.
func TestCheckUnchangedKeepsPatterns(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "model.gguf", "x")
	put(t, dir, "run.log", "x")
	put(t, dir, layer.IgnoreFile, "*.log\n")
	storage := Storage{Mount: dir}
	_, plan, err := planOfStorage(t, &storage)
	require.NoError(t, err)

	put(t, dir, layer.IgnoreFile, "*.gguf\n")
	put(t, dir, "run.log", "more")
	require.NoError(t, CheckUnchanged(t.Context(), opener(storage), plan))

	put(t, dir, "run.txt", "x")
	assertReason(t, v1alpha1.ReasonSourceChanging, CheckUnchanged(t.Context(), opener(storage), plan))
}
