package lifecycle

import (
	"slices"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// builds reports whether a Workflow builds the ModelVersion, and no other image or
// files, in a way that the platform team allows: a resubmit, a retry or a Workflow
// that a user created can have another template, other settings or other arguments,
// and then proves something else.
func builds(wf *wfv1.Workflow, o Observed, opts workflow.Options) bool {
	mv := o.Version
	if !isReference(wf.Spec) {
		return false
	}
	for name, value := range workflow.IdentityArguments(mv, opts) {
		if workflow.Argument(wf, name) != value {
			return false
		}
	}
	return workflow.IsImageOf(mv, workflow.Argument(wf, contract.ParamImage), opts) &&
		(isRecorded(wf, mv) || isRequested(wf, o, opts))
}

// isReference reports whether a Workflow refers to a ClusterWorkflowTemplate and
// sets nothing that Argo rejects when its template referencing is Strict
// (ValidateUserOverrides in v3.7.18). Anything else could replace what the template
// does. Of what Strict accepts, another entrypoint is not: it could be a template
// that does a part of the build.
func isReference(spec wfv1.WorkflowSpec) bool {
	if spec.WorkflowTemplateRef == nil || !spec.WorkflowTemplateRef.ClusterScope {
		return false
	}
	if gc := spec.ArtifactGC; gc != nil && (gc.PodSpecPatch != "" || gc.ServiceAccountName != "" || gc.PodMetadata != nil) {
		return false
	}
	if !isPlain(spec.Arguments) {
		return false
	}
	spec.WorkflowTemplateRef, spec.Arguments = nil, wfv1.Arguments{}
	spec.Shutdown, spec.Suspend, spec.ActiveDeadlineSeconds, spec.Priority = "", nil, nil, nil
	spec.TTLStrategy, spec.PodGC, spec.VolumeClaimGC, spec.ArtifactGC = nil, nil, nil, nil
	spec.ArchiveLogs, spec.WorkflowMetadata, spec.Metrics = nil, nil, nil
	return equality.Semantic.DeepEqual(spec, wfv1.WorkflowSpec{})
}

// isPlain reports whether arguments are values that this operator reads as Argo does.
// Strict also accepts a value from a ConfigMap, which its owner can change at any time,
// two values for one parameter, of which Argo uses the last one, and artifacts, which
// could replace those of a custom template.
func isPlain(arguments wfv1.Arguments) bool {
	names := sets.New[string]()
	for _, parameter := range arguments.Parameters {
		if parameter.ValueFrom != nil || names.Has(parameter.Name) {
			return false
		}
		names.Insert(parameter.Name)
	}
	return len(arguments.Artifacts) == 0
}

// isRecorded reports whether a Workflow builds as the one that the status describes
// does. That one was accepted when it was created, and spec.build and the operator's
// configuration may have changed since. A status from before hashes were recorded has
// none: the Workflow that it describes is still followed.
func isRecorded(wf *wfv1.Workflow, mv *v1alpha1.ModelVersion) bool {
	last := mv.Status.Workflow
	switch {
	case last == nil:
		return false
	case last.BuildHash == "":
		return last.UID == string(wf.UID)
	default:
		return last.BuildHash == workflow.BuildHash(wf)
	}
}

// isRequested reports whether a Workflow builds as the spec and the operator's
// configuration ask for. The image to compare with may be that of any ModelVersion
// of the Model: the latest may be another one by now.
func isRequested(wf *wfv1.Workflow, o Observed, opts workflow.Options) bool {
	for name, value := range workflow.BuildSettings(o.Version, opts) {
		if workflow.Argument(wf, name) != value {
			return false
		}
	}
	// Empty are those that nobody knew when the Workflow was created.
	is := func(name, value string) bool {
		return slices.Contains([]string{"", value}, workflow.Argument(wf, name))
	}
	previous := workflow.Argument(wf, contract.ParamPreviousImage)
	return wf.Spec.WorkflowTemplateRef.Name == workflow.TemplateName(o.Version, opts) && templateAllowed(o, opts) &&
		hasLineage(wf, o.Version) &&
		is(contract.ParamCreated, workflow.Created(o.Version)) &&
		is(contract.ParamKnownRevision, revisionOf(o.Version.Status.Source)) &&
		is(contract.ParamKnownDigest, o.Version.Status.Digest) &&
		workflow.UsesPlainHTTPOnlyFor(wf, opts.PlainHTTPRegistries) &&
		workflow.UsesEnvOf(wf, opts.Pods) &&
		(previous == "" || slices.ContainsFunc(o.Versions, func(other v1alpha1.ModelVersion) bool { return isImageOf(other, previous) }))
}

// whileQueued returns the followed Workflow with the image of the Model's present
// latest version to compare with, if Argo has not started it and it has another one.
// A Workflow can wait for others for hours: one that compares with what was latest
// when it was created sends all files again that the others have sent.
func whileQueued(o Observed, opts workflow.Options) *wfv1.Workflow {
	wf := o.Followed
	latest := workflow.PreviousImage(o.Version, latestOf(o.Versions), opts)
	if !waitsForArgo(wf) || wf.Status.StoredWorkflowSpec != nil || latest == "" || latest == workflow.Argument(wf, contract.ParamPreviousImage) || !isRequested(wf, o, opts) {
		return nil
	}
	return workflow.WithPreviousImage(wf, latest)
}

// waitsForArgo reports whether Argo has not started a Workflow.
func waitsForArgo(wf *wfv1.Workflow) bool {
	return wf.Status.Phase == wfv1.WorkflowUnknown || wf.Status.Phase == wfv1.WorkflowPending
}

// IsQueued reports whether a ModelVersion's Workflow waits for Argo to start it.
func IsQueued(mv *v1alpha1.ModelVersion) bool {
	wf := mv.Status.Workflow
	return mv.Status.ImageBuildPhase == v1alpha1.ImageBuilding && wf != nil && (wf.Phase == "" || wf.Phase == string(wfv1.WorkflowPending))
}

// isImageOf reports whether an image, by its digest, is the one that was built for a
// ModelVersion. One that exists already was built for none.
func isImageOf(mv v1alpha1.ModelVersion, pinned string) bool {
	return pinned != "" && BuiltImage(&mv) == pinned
}

// BuiltImage returns the image that was built for a ModelVersion, by its digest, or an
// empty string.
func BuiltImage(mv *v1alpha1.ModelVersion) string {
	if mv.Spec.Storage.Image != nil || mv.Status.ImageBuildPhase != v1alpha1.ImageBuildSucceeded {
		return ""
	}
	return workflow.Pinned(workflow.PushedImage(mv), mv.Status.Digest)
}

// UnknownImages returns the images, by their digests, whose layers Workflows of a
// ModelVersion reuse, and of which it matters whether they are images of the Model: of
// Workflows that were not accepted yet, or may be updated. Those of the versions that are
// known are left out.
func UnknownImages(mv *v1alpha1.ModelVersion, workflows []*wfv1.Workflow, known []v1alpha1.ModelVersion) []string {
	var images []string
	for _, wf := range workflows {
		image := workflow.Argument(wf, contract.ParamPreviousImage)
		isKnown := slices.ContainsFunc(known, func(other v1alpha1.ModelVersion) bool { return isImageOf(other, image) })
		if image != "" && !isKnown && (waitsForArgo(wf) || !isRecorded(wf, mv)) {
			images = append(images, image)
		}
	}
	return images
}

// templateAllowed reports whether the ModelVersion may be built with the template
// that it is built with: the platform team's, or one that they have marked.
func templateAllowed(o Observed, opts workflow.Options) bool {
	return o.TemplateMarked || workflow.TemplateName(o.Version, opts) == workflow.PlatformTemplate(o.Version, opts)
}
