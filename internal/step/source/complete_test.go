package source

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// index names two files.
const index = `{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}`

// complete is a safetensors file without tensors.
const complete = "\x02\x00\x00\x00\x00\x00\x00\x00{}"

func plan(t *testing.T, dir string) layer.Plan {
	t.Helper()
	found, err := open(t, dir).List(t.Context())
	require.NoError(t, err)
	plan, err := layer.NewPlan(found)
	require.NoError(t, err)
	return plan
}

func TestCheckComplete(t *testing.T) {
	// As in the cache of Hugging Face.
	blob := func(t *testing.T, dir, name, blob string) {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "snapshots/main"), 0o755))
		require.NoError(t, os.Symlink("../../blobs/"+blob, filepath.Join(dir, "snapshots/main", name)))
	}
	tests := map[string]struct {
		make func(t *testing.T, dir string)
		want string
	}{
		"complete files": {make: func(t *testing.T, dir string) {
			put(t, dir, "m.safetensors.index.json", index)
			put(t, dir, "1.safetensors", complete)
			put(t, dir, "2.safetensors", complete)
		}},
		"links to complete files": {make: func(t *testing.T, dir string) {
			put(t, dir, "blobs/i", index)
			put(t, dir, "blobs/1", complete)
			blob(t, dir, "m.safetensors.index.json", "i")
			blob(t, dir, "1.safetensors", "1")
			blob(t, dir, "2.safetensors", "1")
		}},
		"a file below a link": {make: func(t *testing.T, dir string) {
			put(t, dir, "real/1.safetensors", complete)
			require.NoError(t, os.Symlink("real", filepath.Join(dir, "linked")))
			put(t, dir, "m.safetensors.index.json", `{"weight_map": {"a": "linked/1.safetensors"}}`)
		}},
		"a missing file": {
			make: func(t *testing.T, dir string) {
				put(t, dir, "m.safetensors.index.json", index)
				put(t, dir, "1.safetensors", complete)
			},
			want: "2.safetensors ",
		},
		"a link to a truncated file": {
			make: func(t *testing.T, dir string) {
				put(t, dir, "blobs/1", complete[:9])
				blob(t, dir, "1.safetensors", "1")
			},
			want: "snapshots/main/1.safetensors ",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tt.make(t, dir)
			err := CheckComplete(t.Context(), open(t, dir), plan(t, dir))
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			assertReason(t, v1alpha1.ReasonSourceIncomplete, err)
			assert.Regexp(t, "^"+regexp.QuoteMeta(tt.want)+".*, then retry$", failure.Of(err).Message)
		})
	}
}

func TestCheckCompleteAfterAChange(t *testing.T) {
	tests := map[string]func(t *testing.T, at string){
		"it was removed": func(t *testing.T, at string) { require.NoError(t, os.Remove(at)) },
		"it shrank":      func(t *testing.T, at string) { require.NoError(t, os.Truncate(at, 1)) },
		"it became a pipe": func(t *testing.T, at string) {
			require.NoError(t, os.Remove(at))
			require.NoError(t, syscall.Mkfifo(at, 0o644))
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := put(t, dir, "1.safetensors", complete)
			planned := plan(t, dir)
			change(t, at)
			assertReason(t, v1alpha1.ReasonSourceChanging, CheckComplete(t.Context(), open(t, dir), planned))
		})
	}
}

// A file that is there, but is not packaged, is missing in the image.
func TestCheckCompleteWithoutExcludedFile(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "m.safetensors.index.json", index)
	put(t, dir, "1.safetensors", complete)
	put(t, dir, "2.safetensors", complete)
	storage := Storage{Mount: dir, Patterns: layer.Patterns{Exclude: []string{"2.*"}}}
	files, err := storage.Check()
	require.NoError(t, err)
	defer func() { _ = files.Close() }()
	listing, err := files.List(t.Context())
	require.NoError(t, err)
	planned, err := layer.NewPlan(listing)
	require.NoError(t, err)

	err = CheckComplete(t.Context(), files, planned)

	assertReason(t, v1alpha1.ReasonSourceIncomplete, err)
	assert.Contains(t, err.Error(), "2.safetensors")
}

func TestOfRead(t *testing.T) {
	tests := map[string]struct {
		err  error
		want string
	}{
		"an unreadable file": {&fs.PathError{Op: "read", Path: "a", Err: syscall.EIO}, v1alpha1.ReasonSourceUnreadable},
		"a failure":          {fmt.Errorf("open: %w", Changing("a")), v1alpha1.ReasonSourceChanging},
		"a file that shrank": {io.ErrUnexpectedEOF, v1alpha1.ReasonSourceChanging},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assertReason(t, tt.want, ofRead(tt.err)) })
	}
	assert.ErrorIs(t, ofRead(context.Canceled), context.Canceled)
}
