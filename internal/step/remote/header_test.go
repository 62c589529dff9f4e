package remote

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// headerOf opens the file of a store.
func headerOf(t *testing.T, s *fakeStore) fs.File {
	t.Helper()
	plan := layer.Plan{Layers: [][]layer.Entry{{s.entry("")}}}
	file, err := s.files().FS(t.Context(), plan).Open("model.bin")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	return file
}

func TestFSReadsLargerBlocks(t *testing.T) {
	s := &fakeStore{content: random(3*maxBlock + 1)}
	got, err := io.ReadAll(headerOf(t, s))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(s.content, got))
	want := []string{"0+262144", "262144+524288", "786432+1048576", "1835008+2097152", "3932160+4194304", "8126464+4194304", "12320768+262145"}
	assert.Equal(t, want, s.requests())
}

func TestFSReadAt(t *testing.T) {
	for name, tt := range map[string]struct {
		offsets, sizes []int
		want           []string // requests
	}{
		"within a block":       {[]int{0, 100, 50}, []int{10, 10, 10}, []string{"0+262144"}},
		"across blocks":        {[]int{0, 262140}, []int{1, 10}, []string{"0+262144", "262144+524288"}},
		"a jump":               {[]int{0, 1 << 20, 8}, []int{8, 8, 8}, []string{"0+262144", "1048576+262144", "8+262144"}},
		"the end":              {[]int{2<<20 - 22}, []int{22}, []string{"2097130+22"}},
		"more than a block":    {[]int{0}, []int{1 << 20}, []string{"0+1048576"}},
		"nothing":              {[]int{5}, []int{0}, []string{}},
		"the end, then before": {[]int{2<<20 - 22, 2<<20 - 30}, []int{22, 30}, []string{"2097130+22", "2097122+30"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeStore{content: random(2 << 20)}
			file := headerOf(t, s).(io.ReaderAt)
			for i, offset := range tt.offsets {
				got := make([]byte, tt.sizes[i])
				n, err := file.ReadAt(got, int64(offset))
				require.NoError(t, err)
				assert.True(t, bytes.Equal(s.content[offset:offset+tt.sizes[i]], got[:n]), offset)
			}
			assert.Equal(t, tt.want, s.requests())
		})
	}
}

func TestFSReadAtTheEnd(t *testing.T) {
	s := &fakeStore{content: []byte("model")}
	file := headerOf(t, s).(io.ReaderAt)
	got := make([]byte, 10)
	n, err := file.ReadAt(got, 3)
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, "el", string(got[:n]))
	_, err = file.ReadAt(got, 5)
	require.ErrorIs(t, err, io.EOF)
	_, err = file.ReadAt(got, -1)
	require.ErrorIs(t, err, fs.ErrInvalid)
}

func TestFSReadsAgainAfterAFailure(t *testing.T) {
	s := &fakeStore{content: []byte("model"), before: func(_ context.Context, number int, _ int64) error {
		if number == 1 {
			return source.Changing("model.bin")
		}
		return nil
	}}
	file := headerOf(t, s).(io.ReaderAt)
	got := make([]byte, 5)
	_, err := file.ReadAt(got, 0)
	assertFailure(t, v1alpha1.ReasonSourceChanging, false, "model.bin", err)
	_, err = file.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, "model", string(got))
}

func TestFSHasThePlannedFiles(t *testing.T) {
	s := &fakeStore{content: []byte("model")}
	dir := s.files().FS(t.Context(), planOf(t, s.files()))

	info, err := fs.Stat(dir, "model.bin")
	require.NoError(t, err)
	assert.Equal(t, int64(5), info.Size())
	assert.True(t, info.Mode().IsRegular())
	file, err := dir.Open("model.bin")
	require.NoError(t, err)
	opened, err := file.Stat()
	require.NoError(t, err)
	assert.Equal(t, info, opened)
	assert.Equal(t, "model.bin", info.Name())
	assert.Equal(t, noTime, info.ModTime())
	require.NoError(t, file.Close())
	root, err := fs.Stat(dir, ".")
	require.NoError(t, err)
	assert.True(t, root.IsDir())
	_, err = fs.Stat(dir, "other.bin")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = dir.Open("other.bin")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = dir.Open(".")
	require.ErrorIs(t, err, fs.ErrInvalid)
}

// A safetensors file, of which the check needs the header only.
func TestFSForCheckComplete(t *testing.T) {
	tensors := []byte("\x41\x00\x00\x00\x00\x00\x00\x00" + `{"a":{"dtype":"U8","shape":[8388608],"data_offsets":[0,8388608]}}`)
	tensors = append(tensors, make([]byte, 8<<20)...)
	s := &fakeStore{content: tensors}
	f := s.files()
	entry := s.entry("")
	entry.Path = "model.safetensors"
	require.NoError(t, source.CheckComplete(t.Context(), f, layer.Plan{Layers: [][]layer.Entry{{entry}}, Files: 1}))
	assert.Equal(t, []string{"0+262144"}, s.requests())
}
