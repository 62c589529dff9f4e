package translate

import (
	"fmt"
	"maps"
	"slices"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// mismatched is the outcome of a Workflow that builds something else than the
// version whose it is: a resubmit, a retry and a Workflow made by hand can have
// arguments of their own, and its proof would be that of another image.
func mismatched(wf *wfv1.Workflow, parameter string) Outcome {
	return Outcome{
		State:   StateFailed,
		Reason:  v1alpha1.ReasonWorkflowMismatch,
		Message: fmt.Sprintf("Workflow %s is not a build of this version: its argument %s is %q", wf.Name, parameter, argument(wf, parameter)),
	}
}

// mismatch is the first parameter, by name, in which a Workflow differs from
// what identifies the version; empty when there is none.
func mismatch(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, opts Options) string {
	if !isImageOf(mv, argument(wf, ParamImage), opts) {
		return ParamImage
	}
	identity := identityArguments(mv)
	for _, name := range slices.Sorted(maps.Keys(identity)) {
		if argument(wf, name) != identity[name] {
			return name
		}
	}
	return ""
}

// identityArguments are the arguments by parameter name, empty ones included,
// that say which version a Workflow builds, and from which files.
func identityArguments(mv *v1alpha1.ModelVersion) map[string]string {
	identity := map[string]string{
		ParamModel:           mv.Spec.ModelName,
		ParamModelVersion:    mv.Name,
		ParamModelVersionUID: string(mv.UID),
		ParamStoragePath:     "",
		ParamClaimName:       "",
		ParamSubPath:         "",
	}
	maps.Copy(identity, storageArguments(mv.Spec.Storage))
	return identity
}

// isImageOf says that a version may be pushed to an image. The one in the
// status may be from before the default registry was configured to be another.
func isImageOf(mv *v1alpha1.ModelVersion, image string, opts Options) bool {
	if image != "" && image == mv.Status.Image {
		return true
	}
	for collision := range automaticTagLengths {
		if possible, problem := imageOf(mv, collision, opts); problem == nil && possible == image {
			return true
		}
	}
	return false
}
