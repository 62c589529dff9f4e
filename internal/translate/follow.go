package translate

import (
	"cmp"
	"maps"
	"slices"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Followed is the Workflow that a version follows: of those that build it, the
// one that was made or started last, since a retry starts an old one again. Nil
// when there is none. Once a Workflow was followed, the ones before it are
// history: the deletion of an attempt does not bring back the one before.
func Followed(mv *v1alpha1.ModelVersion, workflows []*wfv1.Workflow, opts Options) *wfv1.Workflow {
	var newest *wfv1.Workflow
	for _, wf := range workflows {
		if !builds(wf, mv, opts) || isHistory(wf, mv) {
			continue
		}
		if newest == nil || startedAfter(wf, newest) {
			newest = wf
		}
	}
	return newest
}

// surplus are the ended Workflows of a version that are more than are kept, the
// oldest first. The one that the status speaks of is not counted, and never
// among them.
func surplus(workflows []*wfv1.Workflow, told *v1alpha1.WorkflowStatus, keep History) []*wfv1.Workflow {
	var ended []*wfv1.Workflow
	for _, wf := range workflows {
		if wf.Status.Phase.Completed() && (told == nil || told.UID != string(wf.UID)) {
			ended = append(ended, wf)
		}
	}
	slices.SortFunc(ended, func(a, b *wfv1.Workflow) int {
		if startedAfter(a, b) {
			return -1
		}
		return 1
	})
	var more []*wfv1.Workflow
	for _, wf := range ended {
		left := &keep.Failed
		if wf.Status.Phase == wfv1.WorkflowSucceeded {
			left = &keep.Succeeded
		}
		if *left--; *left < 0 {
			more = append(more, wf)
		}
	}
	slices.Reverse(more)
	return more
}

func startedAfter(a, b *wfv1.Workflow) bool {
	ta, tb := startTime(a), startTime(b)
	if ta.Equal(&tb) {
		return cmp.Or(cmp.Compare(labelledAttempt(a), labelledAttempt(b)), cmp.Compare(a.Name, b.Name)) > 0
	}
	return tb.Before(&ta)
}

// isHistory says that a Workflow began before the one that the version has
// followed. Of two that began in the same second, the attempt decides.
func isHistory(wf *wfv1.Workflow, mv *v1alpha1.ModelVersion) bool {
	last, since := mv.Status.Workflow, mv.Status.StartTime
	if last == nil || since == nil || last.UID == string(wf.UID) {
		return false
	}
	started := startTime(wf)
	return started.Before(since) || started.Equal(since) && labelledAttempt(wf) < mv.Status.Attempts
}

// builds says that a Workflow builds this version, and no other image or
// files: a resubmit, a retry and a Workflow made by hand can have arguments or
// templates of their own, and what they prove is proof of something else.
func builds(wf *wfv1.Workflow, mv *v1alpha1.ModelVersion, opts Options) bool {
	ref := wf.Spec.WorkflowTemplateRef
	if ref == nil || !ref.ClusterScope || len(wf.Spec.Templates) > 0 || wf.Spec.Entrypoint != "" || wf.Spec.PodSpecPatch != "" {
		return false
	}
	for name, value := range identityArguments(mv, opts) {
		if argument(wf, name) != value {
			return false
		}
	}
	return isImageOf(mv, argument(wf, contract.ParamImage), opts)
}

// identityArguments are the arguments by parameter name, empty ones included,
// that say which version a Workflow builds, and from which files. The node of a
// training's chief is among them once it is known.
func identityArguments(mv *v1alpha1.ModelVersion, opts Options) map[string]string {
	identity := map[string]string{
		contract.ParamModel:           mv.Spec.ModelName,
		contract.ParamModelVersion:    mv.Name,
		contract.ParamModelVersionUID: string(mv.UID),
		contract.ParamStoragePath:     "",
		contract.ParamClaimName:       "",
		contract.ParamSubPath:         "",
		contract.ParamNFSServer:       "",
		contract.ParamNFSPath:         "",
	}
	maps.Copy(identity, sourceOf(mv, opts).arguments)
	if lacksChiefsNode(mv) {
		// The first Workflow brings it, and the status has it from there.
		delete(identity, contract.ParamNodeName)
	}
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
