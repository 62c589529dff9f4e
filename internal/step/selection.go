package step

import (
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// cannotPackage returns the failure of a listing that cannot be packaged as it is. Any
// other error is returned unchanged.
func (f *storageFlags) cannotPackage(plan handoff.Plan, err error) error {
	var unsafe *layer.UnsafeError
	switch {
	case errors.Is(err, layer.ErrEmpty) && !plan.Patterns().Equal(layer.Patterns{}):
		return failure.New(v1alpha1.ReasonSourceEmpty, "%s contains no files that the patterns in spec.build.include, spec.build.exclude and %s select: change the patterns, or name the directory that holds the model", plan.StorageName(), layer.IgnoreFile)
	case errors.Is(err, layer.ErrEmpty):
		return failure.New(v1alpha1.ReasonSourceEmpty, "%s contains no files: put the model there, or name the directory that holds it", plan.StorageName())
	case errors.As(err, &unsafe):
		return failure.New(v1alpha1.ReasonSourceUnsafe, "%s cannot be packaged: %v", plan.StorageName(), f.withRemedy(*unsafe))
	}
	return err
}

// cacheLink are the targets of the symbolic links in the cache of Hugging Face
// (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
var cacheLink = regexp.MustCompile(`\A(\.\./)+blobs/`)

// withRemedy returns a problem with what to do about it where the files are.
func (f *storageFlags) withRemedy(unsafe layer.UnsafeError) *layer.UnsafeError {
	inCache := cacheLink.MatchString(unsafe.LeadsOut)
	inClaim := f.storageKind == contract.StorageClaim
	switch {
	case unsafe.LeadsOut == "":
	case inClaim && f.subPath != "" && !f.followLinks && !path.IsAbs(unsafe.LeadsOut):
		unsafe.Remedy = fmt.Sprintf("set spec.build.symlinks: %s, to package what links lead to in the claim", v1alpha1.FollowSymlinks)
	case inCache && inClaim:
		unsafe.Remedy = "copy the whole cache of Hugging Face, with its directory blobs, to the claim, or download the model with hf download --local-dir"
	case inCache:
		unsafe.Remedy = "only this directory is mounted, and not the blobs of the cache of Hugging Face: run cp -rL on it, or hf download --local-dir, and name the directory that this creates"
	}
	return &unsafe
}

// logExcluded logs what patterns have excluded.
func logExcluded(log io.Writer, excluded layer.Excluded) {
	var parts []string
	if excluded.Files > 0 {
		parts = append(parts, fmt.Sprintf("%s (%s)", console.Count(excluded.Files, "file"), console.Size(excluded.Bytes)))
	}
	switch {
	case excluded.Dirs == 1:
		parts = append(parts, "1 directory")
	case excluded.Dirs > 1:
		parts = append(parts, fmt.Sprintf("%d directories", excluded.Dirs))
	}
	if len(parts) > 0 {
		console.Logf(log, "left out %s: %s", strings.Join(parts, " and "), enumerate(excluded.Names, excluded.Files+excluded.Dirs))
	}
}

// advice returns a sentence about what does not belong to the model, or "" if that is not
// a large part, or if patterns say what is packaged.
func advice(model layer.Plan) string {
	if !model.Patterns.Equal(layer.Patterns{}) {
		return ""
	}
	found := layer.FindNotModel(model.Entries())
	if len(found.Paths) == 0 {
		return ""
	}
	const shown = 3
	return fmt.Sprintf(`%s of %s are not the model (%s): to leave them out of the next ModelVersion, set spec.build.exclude: ["%s"]`,
		console.Size(found.Bytes), console.Size(model.Bytes), enumerate(found.Paths[:min(len(found.Paths), shown)], int64(len(found.Paths))), strings.Join(found.Patterns, `", "`))
}

// enumerate returns names, of which there are total, as a list.
func enumerate(names []string, total int64) string {
	const length = 60
	shown := make([]string, 0, len(names)+1)
	for _, name := range names {
		shown = append(shown, text.OneLine(name, length))
	}
	if more := total - int64(len(names)); more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(shown, ", ")
}
