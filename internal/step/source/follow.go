package source

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/text"
)

// cannotFollow returns the failure of a symbolic link that is to be packaged as what it
// leads to. If it does not lead to something in the volume, the cause is a
// *layer.UnsafeError. Any other error is returned as it is.
func cannotFollow(link layer.SourceEntry, err error) error {
	unsafe := &layer.UnsafeError{Path: link.Path, Remedy: "replace it with a relative link to a file of the volume, or leave it out with spec.build.exclude"}
	problem := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		problem = "does not exist"
	case errors.Is(err, syscall.ELOOP):
		problem = "is part of a loop, or of a chain of more than eight links"
	case leadsOut(err):
		problem = "is not in the mounted volume"
		unsafe.LeadsOut = link.Link
	default:
		return err
	}
	unsafe.Problem = fmt.Sprintf("is a symbolic link to %q, which %s", text.OneLine(link.Link, maxShownPath), problem)
	return failure.New(v1alpha1.ReasonSourceUnsafe, "%v", unsafe).WithCause(unsafe)
}

// leadsOut reports whether err is that of a path which leads out of an os.Root. Package
// os has no name for this error.
func leadsOut(err error) bool {
	var ofPath *fs.PathError
	return errors.As(err, &ofPath) && ofPath.Err.Error() == "path escapes from parent"
}
