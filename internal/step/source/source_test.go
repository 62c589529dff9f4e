package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// put writes a file in a directory, and creates the directories it needs.
func put(t *testing.T, dir, name, content string) string {
	t.Helper()
	at := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
	require.NoError(t, os.WriteFile(at, []byte(content), 0o644))
	return at
}

func open(t *testing.T, dir string) *Directory {
	t.Helper()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = root.Close() })
	return NewDirectory(root)
}

func assertReason(t *testing.T, want string, err error) {
	t.Helper()
	require.Error(t, err)
	var got *failure.Error
	require.ErrorAs(t, err, &got)
	assert.Equal(t, want, got.Reason, got.Error())
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "volume/a/b/model.bin", "x")
	put(t, dir, "outside/secret", "x")
	require.NoError(t, os.Symlink("a/b", filepath.Join(dir, "volume/inside")))
	require.NoError(t, os.Symlink("../outside", filepath.Join(dir, "volume/out")))
	require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "volume/absolute")))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "volume/loop")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "volume/pipe"), 0o644))

	tests := map[string]struct {
		mount, subPath string
		want           string // the reason; empty if it opens
	}{
		"the whole volume":                     {mount: "volume"},
		"a directory":                          {mount: "volume", subPath: "a/b"},
		"a link within the volume":             {mount: "volume", subPath: "inside"},
		"no such volume":                       {mount: "nothing", want: v1alpha1.ReasonSourceMissing},
		"no such directory":                    {mount: "volume", subPath: "a/c", want: v1alpha1.ReasonSourceMissing},
		"a volume that is a file":              {mount: "volume/a/b/model.bin", want: v1alpha1.ReasonSourceNotDirectory},
		"a file":                               {mount: "volume", subPath: "a/b/model.bin", want: v1alpha1.ReasonSourceNotDirectory},
		"a path through a file":                {mount: "volume", subPath: "a/b/model.bin/c", want: v1alpha1.ReasonSourceNotDirectory},
		"a pipe":                               {mount: "volume", subPath: "pipe", want: v1alpha1.ReasonSourceNotDirectory},
		"a link that leads out":                {mount: "volume", subPath: "out", want: v1alpha1.ReasonSourceUnsafe},
		"an absolute link":                     {mount: "volume", subPath: "absolute", want: v1alpha1.ReasonSourceUnsafe},
		"a loop of links":                      {mount: "volume", subPath: "loop", want: v1alpha1.ReasonSourceUnsafe},
		"a path with dots that leads out":      {mount: "volume", subPath: "../outside", want: v1alpha1.ReasonSourceUnsafe},
		"an absolute path":                     {mount: "volume", subPath: "/etc", want: v1alpha1.ReasonSourceUnsafe},
		"a path through a link that leads out": {mount: "volume", subPath: "out/secret", want: v1alpha1.ReasonSourceUnsafe},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			files, err := Storage{Mount: filepath.Join(dir, tt.mount), SubPath: tt.subPath, Name: "the claim"}.Open()
			if tt.want != "" {
				assertReason(t, tt.want, err)
				return
			}
			require.NoError(t, err)
			require.NoError(t, files.Close())
		})
	}
	assert.NoDirExists(t, filepath.Join(dir, "volume/a/c"), "nothing is created")
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "config.json", "{}")
	put(t, dir, "a/b/weights bin\n", "1234")
	put(t, dir, "lost+found/#1", "x")
	put(t, dir, "odd\xff", "x")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	require.NoError(t, os.Symlink("../config.json", filepath.Join(dir, "a/link")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))

	found, err := open(t, dir).List(t.Context())

	require.NoError(t, err)
	kinds := map[string]fs.FileMode{}
	for _, f := range found {
		kinds[f.Path] = f.Mode.Type()
		switch f.Path {
		case "a/b/weights bin\n":
			assert.Equal(t, int64(4), f.Size)
		case "a/link":
			assert.Equal(t, "../config.json", f.Link)
		}
	}
	assert.Len(t, found, len(kinds))
	assert.Equal(t, map[string]fs.FileMode{
		".": fs.ModeDir, "a": fs.ModeDir, "a/b": fs.ModeDir, "a/b/weights bin\n": 0, "a/link": fs.ModeSymlink,
		"config.json": 0, "empty": fs.ModeDir, "lost+found": fs.ModeDir, "odd\xff": 0, "pipe": fs.ModeNamedPipe,
	}, kinds)
}

func TestListCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := open(t, t.TempDir()).List(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestCannotRead(t *testing.T) {
	assertReason(t, v1alpha1.ReasonSourceUnreadable, cannotRead("a", &fs.PathError{Op: "openat", Path: "a", Err: syscall.EACCES}))
	assertReason(t, v1alpha1.ReasonSourceUnreadable, cannotRead("a", &fs.PathError{Op: "read", Path: "/source/a", Err: syscall.EIO}))
	assertReason(t, v1alpha1.ReasonSourceChanging, cannotRead("a", &fs.PathError{Op: "openat", Path: "a", Err: syscall.ENOENT}))
	assert.Equal(t, `the build cannot read "a": input/output error`,
		failure.Of(cannotRead("a", &fs.PathError{Op: "read", Path: "/source/a", Err: syscall.EIO})).Message)
	assert.Equal(t, `the build cannot read "a": odd`, failure.Of(cannotRead("a", errors.New("odd"))).Message)
}

// planOf returns the planned entries of a directory by path.
func planOf(t *testing.T, dir string) map[string]layer.Entry {
	t.Helper()
	found, err := open(t, dir).List(t.Context())
	require.NoError(t, err)
	plan, err := layer.NewPlan(found)
	require.NoError(t, err)
	entries := map[string]layer.Entry{}
	for _, e := range plan.Entries() {
		entries[e.Path] = e
	}
	return entries
}

func TestRead(t *testing.T) {
	content := bytes.Repeat([]byte("weights"), 3*bufferSize/7)
	dir := t.TempDir()
	put(t, dir, "a", string(content))
	put(t, dir, "none", "")
	entries := planOf(t, dir)

	var copied bytes.Buffer
	got, err := Read(t.Context(), open(t, dir), entries["a"], &copied)
	require.NoError(t, err)
	want := sha256.Sum256(content)
	assert.Equal(t, hex.EncodeToString(want[:]), got)
	assert.True(t, bytes.Equal(content, copied.Bytes()))

	got, err = Read(t.Context(), open(t, dir), entries["none"], io.Discard)
	require.NoError(t, err)
	assert.Equal(t, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", got)
}

func TestReadAfterAChange(t *testing.T) {
	later := time.Now().Add(time.Hour)
	tests := map[string]func(t *testing.T, at string){
		"it was removed": func(t *testing.T, at string) { require.NoError(t, os.Remove(at)) },
		"it was touched": func(t *testing.T, at string) { require.NoError(t, os.Chtimes(at, later, later)) },
		"it grew":        func(t *testing.T, at string) { require.NoError(t, os.WriteFile(at, []byte("12345"), 0o644)) },
		"it became a pipe": func(t *testing.T, at string) {
			require.NoError(t, os.Remove(at))
			require.NoError(t, syscall.Mkfifo(at, 0o644))
		},
		"it became a link": func(t *testing.T, at string) {
			require.NoError(t, os.Rename(at, at+"2"))
			require.NoError(t, os.Symlink("other", at))
		},
		"it became a directory": func(t *testing.T, at string) {
			require.NoError(t, os.Remove(at))
			require.NoError(t, os.Mkdir(at, 0o755))
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := put(t, dir, "a", "1234")
			put(t, dir, "other", "123456")
			entry := planOf(t, dir)["a"]
			change(t, at)
			_, err := Read(t.Context(), open(t, dir), entry, io.Discard)
			assertReason(t, v1alpha1.ReasonSourceChanging, err)
		})
	}
}

// changer runs when the first bytes of a file are copied.
type changer func()

func (c changer) Write(p []byte) (int, error) {
	c()
	return len(p), nil
}

func TestReadDuringAChange(t *testing.T) {
	tests := map[string]func(at string) error{
		"it shrinks":             func(at string) error { return os.Truncate(at, bufferSize) },
		"it grows":               func(at string) error { return os.Truncate(at, 9*bufferSize) },
		"it is written to":       func(at string) error { return os.Chtimes(at, time.Now(), time.Now().Add(time.Minute)) },
		"it never stops growing": func(at string) error { return os.Truncate(at, 1<<40) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := put(t, dir, "a", string(make([]byte, 3*bufferSize)))
			entry := planOf(t, dir)["a"]
			_, err := Read(t.Context(), open(t, dir), entry, changer(func() { assert.NoError(t, change(at)) }))
			assertReason(t, v1alpha1.ReasonSourceChanging, err)
		})
	}
}

func TestReadCanceled(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a", string(make([]byte, 3*bufferSize)))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Read(ctx, open(t, dir), planOf(t, dir)["a"], changer(cancel))
	require.ErrorIs(t, err, context.Canceled)
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestReadWriteError(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a", "1234")
	_, err := Read(t.Context(), open(t, dir), planOf(t, dir)["a"], brokenWriter{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	assert.Equal(t, v1alpha1.ReasonBuildFailed, failure.Of(err).Reason)
}

func TestCheckLink(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a", "x")
	put(t, dir, "b", "x")
	at := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("a", at))
	entry := planOf(t, dir)["link"]
	require.NoError(t, open(t, dir).CheckLink(entry))

	require.NoError(t, os.Remove(at))
	assertReason(t, v1alpha1.ReasonSourceChanging, open(t, dir).CheckLink(entry))
	require.NoError(t, os.Symlink("b", at))
	assertReason(t, v1alpha1.ReasonSourceChanging, open(t, dir).CheckLink(entry))
	require.NoError(t, os.Remove(at))
	put(t, dir, "link", "x")
	assertReason(t, v1alpha1.ReasonSourceChanging, open(t, dir).CheckLink(entry))
}

func TestListTooManyEntries(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "sub/c"} {
		put(t, dir, name, "")
	}
	const entries = 4
	l := lister{Directory: open(t, dir), left: entries}
	require.NoError(t, l.list(t.Context(), listedDir{path: layer.RootDir}))
	assert.Len(t, l.entries, entries)

	l = lister{Directory: open(t, dir), left: entries - 1}
	err := l.list(t.Context(), listedDir{path: layer.RootDir})
	assertReason(t, v1alpha1.ReasonSourceUnsafe, err)
	require.ErrorContains(t, err, "has more than 200000 files and directories")
}
