package source

import (
	"context"
	"io"
	"slices"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// Selected are files in a store, of which patterns select some. A Directory selects
// files itself, because it does not read what is excluded.
type Selected struct {
	Files
	// Patterns select the files.
	Patterns *layer.Patterns
	// FindsPatterns is true if List adds the patterns in the layer.IgnoreFile to
	// Patterns. They do not change during a build, so only its first List does that.
	FindsPatterns bool
}

// List returns all files, and marks those that are not selected. A selected file that a
// program has not finished to write is a failure, as in a Directory: stores hold what was
// copied into them too early.
func (s *Selected) List(ctx context.Context) ([]layer.SourceEntry, error) {
	listing, err := s.Files.List(ctx)
	if err != nil {
		return nil, err
	}
	if s.FindsPatterns {
		*s.Patterns, err = withIgnoreFile(*s.Patterns, func() ([]byte, error) { return s.readIgnoreFile(ctx, listing) })
		if err != nil {
			return nil, err
		}
		s.FindsPatterns = false
	}
	filter, err := layer.NewFilter(*s.Patterns)
	if err != nil {
		return nil, failure.New(v1alpha1.ReasonInvalidSpec, "%v", err)
	}
	layer.Select(listing, filter)
	if err := checkAllFinished(listing); err != nil {
		return nil, err
	}
	return listing, nil
}

// readIgnoreFile returns the content of the layer.IgnoreFile, and one byte more than its
// maximum size at most, or nil if there is none.
func (s *Selected) readIgnoreFile(ctx context.Context, listing []layer.SourceEntry) ([]byte, error) {
	at := slices.IndexFunc(listing, func(e layer.SourceEntry) bool { return e.Path == layer.IgnoreFile })
	if at < 0 {
		return nil, nil
	}
	found := listing[at]
	if !found.Mode.IsRegular() {
		return nil, errNoIgnoreFile
	}
	planned := layer.Entry{Path: found.Path, Type: layer.File, Size: found.Size, ModTime: found.ModTime.UnixNano(), Identity: found.Identity}
	content, err := s.Open(ctx, planned, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }()
	return io.ReadAll(io.LimitReader(content, layer.MaxIgnoreFileSize+1))
}
