package layer

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testEntries cover everything that an archive has to represent.
var testEntries = []Entry{
	{Path: RootDir, Type: Dir, Mode: ModeExecutable, ModTime: 1},
	{Path: "empty", Type: File, Mode: ModeReadable},
	{Path: "dir", Type: Dir, Mode: ModeExecutable},
	{Path: "dir/" + strings.Repeat("ä", 120) + "\n", Type: File, Mode: ModeReadable, Size: 700},
	{Path: "dir/link", Type: Symlink, Link: "../one"},
	{Path: "one", Type: File, Mode: ModeExecutable, Size: 512, ModTime: 99},
}

// contentOf returns the content of a file of the given size in these tests.
func contentOf(size int64) []byte { return bytes.Repeat([]byte("weights "), int(size/8)+1)[:size] }

// render returns an archive from an offset on.
func render(a Archive, offset int64) []byte {
	var all []byte
	for piece := range a.Pieces(offset) {
		if piece.Bytes != nil {
			all = append(all, piece.Bytes...)
			continue
		}
		all = append(all, contentOf(piece.Entry.Size)[piece.Offset:]...)
	}
	return all
}

func TestArchiveContent(t *testing.T) {
	archive, err := NewArchive("kubedl-model", testEntries)
	require.NoError(t, err)

	full := render(archive, 0)

	assert.Equal(t, archive.Size(), int64(len(full)))
	entries := tar.NewReader(bytes.NewReader(full))
	for _, want := range testEntries {
		header, err := entries.Next()
		require.NoError(t, err)
		assert.Equal(t, strings.TrimSuffix("kubedl-model/"+strings.TrimPrefix(want.Path, RootDir), "/"), strings.TrimSuffix(header.Name, "/"))
		assert.True(t, header.ModTime.Equal(time.Unix(0, 0)), "a copy of the files is the same model")
		assert.Zero(t, header.Uid+header.Gid)
		assert.Equal(t, want.Link, header.Linkname)
		if want.Type != Symlink {
			assert.Equal(t, int64(want.Mode), header.Mode)
		}
		content, err := io.ReadAll(entries)
		require.NoError(t, err)
		assert.Equal(t, string(contentOf(want.Size)), string(content), want.Path)
	}
	_, err = entries.Next()
	assert.ErrorIs(t, err, io.EOF)
}

func TestArchivePiecesFromAnyOffset(t *testing.T) {
	archive, err := NewArchive("kubedl-model", testEntries)
	require.NoError(t, err)
	full := render(archive, 0)
	for offset := range archive.Size() + 2 {
		want := full[min(offset, archive.Size()):]
		require.True(t, bytes.Equal(want, render(archive, offset)), "from byte %d", offset)
	}
}

func TestArchivePiecesStopEarly(t *testing.T) {
	archive, err := NewArchive("kubedl-model", testEntries)
	require.NoError(t, err)
	total := 0
	for range archive.Pieces(0) {
		total++
	}
	for wanted := range total {
		got := 0
		for range archive.Pieces(0) {
			if got++; got > wanted {
				break
			}
		}
		assert.Equal(t, wanted+1, got)
	}
}

func TestArchiveWithoutEntries(t *testing.T) {
	archive, err := NewArchive("kubedl-model", nil)
	require.NoError(t, err)
	assert.Equal(t, make([]byte, 1024), render(archive, 0))
	assert.Equal(t, int64(1024), archive.Size())
}

func TestArchiveWithAFileOverEightGibibytes(t *testing.T) {
	const large = 9 << 30
	archive, err := NewArchive("kubedl-model", []Entry{{Path: "w", Type: File, Mode: ModeReadable, Size: large}})
	require.NoError(t, err)
	for piece := range archive.Pieces(0) {
		header, err := tar.NewReader(bytes.NewReader(piece.Bytes)).Next()
		require.NoError(t, err)
		assert.Equal(t, int64(large), header.Size)
		break
	}
	for piece := range archive.Pieces(archive.Size() - trailerSize - 1) {
		assert.Equal(t, Piece{Entry: &archive.entries[0], Offset: large - 1}, piece)
		break
	}
}

func TestNewArchiveRejectsNames(t *testing.T) {
	_, err := NewArchive("kubedl-model", []Entry{{Path: "a\x00b", Type: File}})
	require.ErrorContains(t, err, `lay out "a\x00b"`)
}

func BenchmarkArchivePieces(b *testing.B) {
	entries := make([]Entry, 10_000)
	for i := range entries {
		entries[i] = Entry{Path: strings.Repeat("d/", i%50) + "file", Type: File, Mode: ModeReadable, Size: 1000}
	}
	b.ReportAllocs()
	for b.Loop() {
		archive, err := NewArchive("kubedl-model", entries)
		require.NoError(b, err)
		for range archive.Pieces(0) {
		}
	}
}
