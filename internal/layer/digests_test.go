package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sha256Of(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// hashedEntries have files of sizes around those of a block, and one that is hashed in
// parallel.
var hashedEntries = []Entry{
	{Path: RootDir, Type: Dir, Mode: ModeExecutable},
	{Path: OpaqueWhiteout, Type: File, Mode: ModeReadable},
	{Path: "empty", Type: File, Mode: ModeReadable},
	{Path: "full", Type: File, Mode: ModeReadable, Size: blockSize},
	{Path: "large", Type: File, Mode: ModeReadable, Size: 3*parallelSize + 1},
	{Path: "link", Type: Symlink, Link: "small"},
	{Path: "small", Type: File, Mode: ModeReadable, Size: 1},
}

func wantDigests() map[string]string {
	want := map[string]string{}
	for _, e := range hashedEntries {
		if e.Type == File && e.Path != OpaqueWhiteout {
			want[e.Path] = sha256Of(contentOf(e.Size))
		}
	}
	return want
}

func TestArchiveHash(t *testing.T) {
	archive, err := NewArchive("kubedl-model", hashedEntries)
	require.NoError(t, err)
	full := render(archive, 0)
	for _, size := range []int{1, 511, 512, parallelSize, len(full)} {
		t.Run(fmt.Sprintf("%d bytes at a time", size), func(t *testing.T) {
			sums := archive.NewHash()
			for rest := full; len(rest) > 0; {
				n := min(size, len(rest))
				written, err := sums.Write(rest[:n])
				require.NoError(t, err)
				require.Equal(t, n, written)
				rest = rest[n:]
			}
			assert.Equal(t, "sha256:"+sha256Of(full), sums.DiffID())
			assert.Equal(t, wantDigests(), sums.Files())
		})
	}
}

// An upload that is interrupted continues with an earlier hash.
func TestArchiveHashClone(t *testing.T) {
	archive, err := NewArchive("kubedl-model", hashedEntries)
	require.NoError(t, err)
	full := render(archive, 0)
	for at := 0; at < len(full); at += 700 {
		sums := archive.NewHash()
		_, _ = sums.Write(full[:at])
		clone, err := sums.Clone()
		require.NoError(t, err)

		lost, err := sums.Clone()
		require.NoError(t, err)
		_, _ = lost.Write(make([]byte, len(full)-at))
		_, _ = clone.Write(full[at:])

		require.Equal(t, "sha256:"+sha256Of(full), clone.(*ArchiveHash).DiffID(), at)
		require.Equal(t, wantDigests(), clone.(*ArchiveHash).Files(), at)
	}
}

func TestKnownDigests(t *testing.T) {
	dir := Entry{Path: "d", Type: Dir}
	a, b := Entry{Path: "a", Type: File}, Entry{Path: "b", Type: File, Identity: "sha256:bb"}
	tests := map[string]struct {
		entries []Entry
		index   Index
		want    map[string]string
	}{
		"of the store":              {entries: []Entry{dir, b}, want: map[string]string{"b": "bb"}},
		"of the index":              {entries: []Entry{dir, a}, index: Index{"a": {SHA256: "aa"}}, want: map[string]string{"a": "aa"}},
		"of both":                   {entries: []Entry{a, b}, index: Index{"a": {SHA256: "aa"}, "b": {SHA256: "x"}}, want: map[string]string{"a": "aa", "b": "bb"}},
		"an index without digests":  {entries: []Entry{a, b}, index: Index{"a": {}}},
		"another kind of identity":  {entries: []Entry{{Path: "a", Type: File, Identity: "git:aa"}}},
		"a layer without any files": {entries: []Entry{dir}, want: map[string]string{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, complete := KnownDigests(tt.entries, tt.index)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.want != nil, complete)
		})
	}
}

func BenchmarkArchiveHash(b *testing.B) {
	archive, err := NewArchive("kubedl-model", []Entry{{Path: "weights", Type: File, Mode: ModeReadable, Size: 64 << 20}})
	require.NoError(b, err)
	content := make([]byte, 256<<10)
	b.SetBytes(archive.Size())
	for b.Loop() {
		sums := archive.NewHash()
		for left := archive.Size(); left > 0; left -= int64(len(content)) {
			_, _ = sums.Write(content[:min(int64(len(content)), left)])
		}
	}
}
