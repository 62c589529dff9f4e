package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// Archive is a layer of a plan as a tar archive, whose content is read from the
// model's files on demand.
type Archive struct {
	// Files are the model's files.
	Files Files
	// Layout is the layout of the archive.
	Layout layer.Archive
}

// Size returns the size of the archive in bytes.
func (a Archive) Size() int64 { return a.Layout.Size() }

// Open returns a reader of the archive from offset on. If a file or link does
// not match the plan, the reader's error has the reason SourceChanging.
func (a Archive) Open(ctx context.Context, offset int64) io.ReadCloser {
	next, stop := iter.Pull(a.Layout.Pieces(offset))
	return &archiveReader{ctx: ctx, files: a.Files, next: next, stop: stop, piece: bytes.NewReader(nil)}
}

type archiveReader struct {
	ctx   context.Context
	files Files
	next  func() (layer.Piece, bool)
	stop  func()
	// piece is the current piece: bytes, or the content of file, which is that
	// of entry.
	piece io.Reader
	file  io.ReadCloser
	entry layer.Entry
	// left is how much of the file is left to read.
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
			return 0, err
		}
		if err := r.endPiece(); err != nil {
			return 0, err
		}
		piece, more := r.next()
		if !more {
			return 0, io.EOF
		}
		if err := r.startPiece(piece); err != nil {
			return 0, err
		}
	}
}

// startPiece makes piece the current one.
func (r *archiveReader) startPiece(piece layer.Piece) error {
	if piece.Bytes != nil {
		r.piece = bytes.NewReader(piece.Bytes)
		if piece.Entry != nil && piece.Entry.Type == layer.Symlink {
			return r.files.CheckLink(*piece.Entry)
		}
		return nil
	}
	file, err := r.files.Open(r.ctx, *piece.Entry, piece.Offset)
	if err != nil {
		return err
	}
	r.piece, r.file, r.entry = file, file, *piece.Entry
	r.left = r.entry.Size - piece.Offset
	return nil
}

// endPiece checks that a file was read to its planned end.
func (r *archiveReader) endPiece() error {
	if r.file == nil {
		return nil
	}
	_ = r.file.Close()
	r.file = nil
	if r.left != 0 {
		return Changing(r.entry.Path)
	}
	return nil
}

// Close closes the current file.
func (r *archiveReader) Close() error {
	r.stop()
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
