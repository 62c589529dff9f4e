package registry

import (
	"context"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// PushIndex pushes an index: its images as Push does, by their digests, and then the
// tag.
func (r *Repository) PushIndex(ctx context.Context, tag name.Tag, index v1.ImageIndex) error {
	return r.explain(remote.WriteIndex(tag, index, r.options(ctx)...))
}
