package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"os"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// Archive is a layer of a plan, read from the model's folder while it is used.
type Archive struct {
	// Root is the model's folder.
	Root *os.Root
	// Layout says what the archive consists of.
	Layout layer.Archive
}

// Size is the archive's length in bytes.
func (a Archive) Size() int64 { return a.Layout.Size() }

// Open reads the archive from an offset on. Something that is no longer as it
// was planned is an error with the reason SourceChanging.
func (a Archive) Open(ctx context.Context, offset int64) io.ReadCloser {
	next, stop := iter.Pull(a.Layout.Pieces(offset))
	return &archiveReader{ctx: ctx, root: a.Root, next: next, stop: stop, piece: bytes.NewReader(nil)}
}

type archiveReader struct {
	ctx  context.Context
	root *os.Root
	next func() (layer.Piece, bool)
	stop func()
	// piece is what is read now: bytes, or file, which belongs to entry.
	piece io.Reader
	file  *os.File
	entry layer.Entry
	// left is how much of the file is still to come.
	left int64
}

func (r *archiveReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	for {
		n, err := r.piece.Read(p)
		r.left -= int64(n)
		switch {
		case n > 0:
			return n, nil
		case err != nil && !errors.Is(err, io.EOF):
			return 0, cannotRead(r.entry.Path, err)
		}
		if err := r.endPiece(); err != nil {
			return 0, err
		}
		piece, more := r.next()
		if !more {
			return 0, io.EOF
		}
		if err := r.begin(piece); err != nil {
			return 0, err
		}
	}
}

// begin makes a piece the one that is read.
func (r *archiveReader) begin(piece layer.Piece) error {
	if piece.Bytes != nil {
		r.piece = bytes.NewReader(piece.Bytes)
		if piece.Entry != nil && piece.Entry.Type == layer.Symlink {
			return CheckLink(r.root, *piece.Entry)
		}
		return nil
	}
	r.entry = *piece.Entry
	file, err := r.root.OpenFile(r.entry.Path, openWithoutWaiting, 0)
	if err != nil {
		return cannotRead(r.entry.Path, err)
	}
	r.file = file
	if err := asPlanned(file, r.entry); err != nil {
		return err
	}
	r.left = r.entry.Size - piece.Offset
	r.piece = io.NewSectionReader(file, piece.Offset, r.left)
	return nil
}

// endPiece says whether a file that was read to its end is still the one that
// was planned, and whole.
func (r *archiveReader) endPiece() error {
	if r.file == nil {
		return nil
	}
	file := r.file
	r.file = nil
	defer func() { _ = file.Close() }()
	if r.left != 0 {
		return Changing(r.entry.Path)
	}
	return asPlanned(file, r.entry)
}

// Close ends the reading.
func (r *archiveReader) Close() error {
	r.stop()
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
