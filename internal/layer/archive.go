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
	// blockSize is the unit of a tar archive: everything in it is padded to a
	// multiple of this.
	blockSize = 512
	// trailerSize is the length of the end of a tar archive: two empty blocks.
	trailerSize = 2 * blockSize
)

// Archive is one layer of a plan as an uncompressed tar archive whose layout is
// known but which is not written anywhere: any part of it can be generated at any
// time from the plan and the files, so that an interrupted upload can resume.
//
// The same entries give the same bytes on every machine: names are sorted, owners
// are 0:0, modes are the plan's, and times are the start of 1970, because copying
// files does not change the model.
type Archive struct {
	dir     string
	entries []Entry
	// ends holds the offset at which each entry ends, in bytes.
	ends []int64
}

// NewArchive computes the layout of an archive that has the entries, in their
// order, in a directory, whose name has no leading slash. The error is about an
// entry that a tar archive cannot hold.
func NewArchive(dir string, entries []Entry) (Archive, error) {
	a := Archive{dir: dir, entries: entries, ends: make([]int64, 0, len(entries))}
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

// Size returns the archive's length in bytes.
func (a Archive) Size() int64 {
	if len(a.ends) == 0 {
		return trailerSize
	}
	return a.ends[len(a.ends)-1] + trailerSize
}

// Piece is a part of an archive.
type Piece struct {
	// Entry is the entry that the piece belongs to; nil for the archive's trailer.
	Entry *Entry
	// Bytes is the content of the piece, or nil if that is the content of Entry
	// from Offset on.
	Bytes  []byte
	Offset int64
}

// Pieces returns an iterator over the pieces of the archive from an offset on, in
// order.
func (a Archive) Pieces(offset int64) iter.Seq[Piece] {
	return func(yield func(Piece) bool) {
		first := sort.Search(len(a.ends), func(i int) bool { return a.ends[i] > offset })
		start := int64(0)
		if first > 0 {
			start = a.ends[first-1]
		}
		for i := first; i < len(a.entries); i++ {
			if !a.yieldEntry(i, max(0, offset-start), yield) {
				return
			}
			start = a.ends[i]
		}
		if skip := max(0, offset-start); skip < trailerSize {
			yield(Piece{Bytes: make([]byte, trailerSize-skip)})
		}
	}
}

// yieldEntry yields the pieces of one entry, without its first skip bytes, and
// reports whether to continue.
func (a Archive) yieldEntry(i int, skip int64, yield func(Piece) bool) bool {
	e := &a.entries[i]
	// NewArchive has checked that this cannot fail.
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

// header returns the bytes that precede an entry's content.
func (a Archive) header(e Entry) ([]byte, error) {
	h := tar.Header{Name: path.Join(a.dir, e.Path), Mode: int64(e.Mode.Perm()), ModTime: time.Unix(0, 0)}
	switch e.Type {
	case Dir:
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

// padding returns how many bytes fill the last block of a content.
func padding(size int64) int64 { return (blockSize - size%blockSize) % blockSize }
