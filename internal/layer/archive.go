package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"iter"
	"path"
	"sort"
	"time"
)

const (
	// blockSize is what everything in a tar archive is a multiple of.
	blockSize = 512
	// trailerSize is how long the end of a tar archive is: two empty blocks.
	trailerSize = 2 * blockSize
)

// Archive is one layer of a plan as an uncompressed tar archive that was laid
// out and not written: any part of it can be made at any time, from the plan and
// the files, so that an upload that was cut goes on where it was.
//
// The same entries give the same bytes on whatever machine: names are in order,
// owners are 0:0, modes are the plan's, and times are the beginning of 1970,
// since copying files does not make another model of them.
type Archive struct {
	folder  string
	entries []Entry
	// ends are where each entry ends, in bytes from the archive's beginning.
	ends []int64
}

// NewArchive lays out an archive that has the entries, in their order, in a
// folder, which is named without a slash at its beginning. The error is about an
// entry that no archive can hold.
func NewArchive(folder string, entries []Entry) (Archive, error) {
	a := Archive{folder: folder, entries: entries, ends: make([]int64, 0, len(entries))}
	end := int64(0)
	for _, e := range entries {
		header, err := a.header(e)
		if err != nil {
			return Archive{}, fmt.Errorf("lay out %q: %w", e.Path, err)
		}
		end += int64(len(header)) + e.Size + padding(e.Size)
		a.ends = append(a.ends, end)
	}
	return a, nil
}

// Size is the archive's length in bytes.
func (a Archive) Size() int64 {
	if len(a.ends) == 0 {
		return trailerSize
	}
	return a.ends[len(a.ends)-1] + trailerSize
}

// Piece is a part of an archive.
type Piece struct {
	// Entry is what the piece is of; nil for the archive's end.
	Entry *Entry
	// Bytes is the piece itself, or nil when it is the content of Entry from
	// Offset on.
	Bytes  []byte
	Offset int64
}

// Pieces are what an archive consists of from an offset on, in order.
func (a Archive) Pieces(offset int64) iter.Seq[Piece] {
	return func(yield func(Piece) bool) {
		first := sort.Search(len(a.ends), func(i int) bool { return a.ends[i] > offset })
		begin := int64(0)
		if first > 0 {
			begin = a.ends[first-1]
		}
		for i := first; i < len(a.entries); i++ {
			if !a.entry(i, max(0, offset-begin), yield) {
				return
			}
			begin = a.ends[i]
		}
		if skip := max(0, offset-begin); skip < trailerSize {
			yield(Piece{Bytes: make([]byte, trailerSize-skip)})
		}
	}
}

// entry yields the pieces of one entry, without so many bytes at its beginning,
// and says whether more are wanted.
func (a Archive) entry(i int, skip int64, yield func(Piece) bool) bool {
	e := &a.entries[i]
	// That it can be made was found out before.
	header, _ := a.header(*e)
	if length := int64(len(header)); skip < length {
		if !yield(Piece{Entry: e, Bytes: header[skip:]}) {
			return false
		}
		skip = 0
	} else {
		skip -= length
	}
	if skip < e.Size {
		if !yield(Piece{Entry: e, Offset: skip}) {
			return false
		}
		skip = 0
	} else {
		skip -= e.Size
	}
	if rest := padding(e.Size) - skip; rest > 0 {
		return yield(Piece{Entry: e, Bytes: make([]byte, rest)})
	}
	return true
}

// header is what stands before an entry's content.
func (a Archive) header(e Entry) ([]byte, error) {
	h := tar.Header{Name: path.Join(a.folder, e.Path), Mode: int64(e.Mode.Perm()), ModTime: time.Unix(0, 0)}
	switch e.Type {
	case Folder:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case Symlink:
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.Link, 0o777
	default:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
	}
	var header bytes.Buffer
	err := tar.NewWriter(&header).WriteHeader(&h)
	return header.Bytes(), err
}

// padding is how many bytes fill up the last block of a content.
func padding(size int64) int64 { return (blockSize - size%blockSize) % blockSize }
