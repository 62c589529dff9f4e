package source

import (
	"context"
	"io"
	"io/fs"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// Files are the files of a model, wherever they are stored. Errors are a *failure.Error
// or that of the context.
type Files interface {
	// List returns everything that is packaged or skipped, and the model's directory
	// itself, in any order.
	List(ctx context.Context) ([]layer.SourceEntry, error)
	// Open returns a reader of a planned file from an offset in bytes on. If the file no
	// longer matches the plan, the reader's error, at the end of the file at the latest,
	// has the reason SourceChanging.
	Open(ctx context.Context, planned layer.Entry, offset int64) (io.ReadCloser, error)
	// FS returns the planned files for reading their headers. Its opened files implement
	// io.ReaderAt. A file that no longer matches the plan is an error.
	FS(ctx context.Context, plan layer.Plan) fs.FS
	// CheckLink checks that a symbolic link still matches the plan.
	CheckLink(planned layer.Entry) error
	// Close releases what the files hold open.
	Close() error
}

// Opener opens the files of a model. Each call opens their storage again.
type Opener func(ctx context.Context) (Files, error)
