// Package workflow turns a ModelVersion into the Argo Workflow that builds its
// image: New in this file, the arguments in arguments.go, what each kind of
// storage adds in storage.go and volume.go, and names in name.go and image.go.
// It is pure: no client, no logger, no clock, no context.
package workflow

import (
	"cmp"
	"fmt"
	"strconv"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// labelInstanceID selects the Argo controller that runs a Workflow.
const labelInstanceID = "workflows.argoproj.io/controller-instanceid"

// annotationRestarts on a Workflow counts the unfinished Workflows before it
// that were deleted, so that the count survives a lost status write.
const annotationRestarts = "model.kubedl.io/restarts"

// An Attempt is one build of a ModelVersion.
type Attempt struct {
	// Number counts the ModelVersion's attempts, from 1.
	Number int64
	// Collision counts the automatic tags that were found taken.
	Collision int
	// Restarts counts the unfinished Workflows before this one that were deleted.
	Restarts int64
	// Previous is the latest version of the Model, whose image may hold many of
	// the files already. It is nil when the Model has none.
	Previous *v1alpha1.ModelVersion
	// KnownDigest is the digest that an earlier attempt reported, "sha256:…". If the
	// tag holds the image with this digest, mount-check takes it for this
	// ModelVersion's. The registry is asked whether it still has that image. It is
	// empty when no attempt has reported one.
	KnownDigest string
	// UserAssigned is true if the namespace assigns users to containers, as those of
	// OpenShift do. Kaniko needs root and takes no notice of it.
	UserAssigned bool
}

// A Problem is why a ModelVersion cannot be built, or a pod cannot have its
// model: a reason of the API and one sentence without a full stop.
type Problem struct {
	Reason  string
	Message string
}

// New returns the Workflow that builds a ModelVersion: a reference to a
// ClusterWorkflowTemplate and string arguments, and nothing that Argo's Strict
// template referencing would refuse. A ModelVersion that cannot be built yields
// a Problem instead.
func New(mv *v1alpha1.ModelVersion, attempt Attempt, opts Options) (*wfv1.Workflow, *Problem) {
	args, problem := arguments(mv, attempt, opts)
	if problem != nil {
		return nil, problem
	}
	template := TemplateName(mv, opts)
	if template == "" {
		return nil, &Problem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf("No ClusterWorkflowTemplate is configured for the engine %s in this namespace. To build with the other engine, change spec.build.engine: kubectl edit mv -n %s %s", engine(mv, opts), mv.Namespace, mv.Name)}
	}
	wf := &wfv1.Workflow{
		TypeMeta: metav1.TypeMeta{APIVersion: wfv1.SchemeGroupVersion.String(), Kind: "Workflow"},
		ObjectMeta: metav1.ObjectMeta{
			Name:      Name(mv.Name, mv.UID, attempt.Number),
			Namespace: mv.Namespace,
			Labels: map[string]string{
				v1alpha1.LabelModelName:       mv.Spec.ModelName,
				v1alpha1.LabelModelVersion:    labelValue(mv.Name),
				v1alpha1.LabelModelVersionUID: string(mv.UID),
				v1alpha1.LabelAttempt:         strconv.FormatInt(attempt.Number, 10),
			},
			Annotations: map[string]string{
				annotationTitle:               fmt.Sprintf("Build %s, version %s", mv.Spec.ModelName, mv.Name),
				annotationDescription:         description(mv, purpose(args[contract.ParamStorageKind], args[contract.ParamImage])),
				annotationRestarts:            strconv.FormatInt(attempt.Restarts, 10),
				v1alpha1.AnnotationGeneration: strconv.FormatInt(mv.Generation, 10),
				v1alpha1.AnnotationRebuild:    RebuildRequest(mv.Annotations),
			},
			OwnerReferences: controllerReference("ModelVersion", mv),
		},
		Spec: wfv1.WorkflowSpec{
			WorkflowTemplateRef:   &wfv1.WorkflowTemplateRef{Name: template, ClusterScope: true},
			ActiveDeadlineSeconds: ptr.To(deadlineSeconds(mv, opts)),
			Arguments:             wfv1.Arguments{Parameters: parameters(args)},
		},
	}
	if opts.ArgoInstanceID != "" {
		wf.Labels[labelInstanceID] = opts.ArgoInstanceID
	}
	return wf, nil
}

// controllerReference returns the owner reference of an object that belongs to
// a ModelVersion or a Model. It does not block the owner's deletion: with the admission
// plugin OwnerReferencesPermissionEnforcement, users who resubmit a Workflow
// would otherwise need rights on the finalizers of ModelVersions.
func controllerReference(kind string, owner metav1.Object) []metav1.OwnerReference {
	return []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(),
		Kind:       kind,
		Name:       owner.GetName(),
		UID:        owner.GetUID(),
		Controller: ptr.To(true),
	}}
}

// TemplateName returns the name of the ClusterWorkflowTemplate that builds a
// ModelVersion. It is empty when none is configured for its engine.
func TemplateName(mv *v1alpha1.ModelVersion, opts Options) string {
	if b := mv.Spec.Build; b != nil && b.WorkflowTemplate != "" {
		return b.WorkflowTemplate
	}
	return PlatformTemplate(mv, opts)
}

// PlatformTemplate returns the name of the ClusterWorkflowTemplate that the
// platform team configured for the ModelVersion's namespace and engine. It is
// empty for an engine without one: a namespace whose own template scans images
// must not be able to avoid the scan by choosing another engine.
func PlatformTemplate(mv *v1alpha1.ModelVersion, opts Options) string {
	ofNamespace, found := opts.NamespaceTemplates[mv.Namespace]
	if engine(mv, opts) != v1alpha1.Stream {
		return cmp.Or(ofNamespace, opts.WorkflowTemplate)
	}
	if template := opts.NamespaceStreamTemplates[mv.Namespace]; template != "" || found {
		return template
	}
	return opts.StreamTemplate
}

// engine returns the engine that builds a ModelVersion's image.
func engine(mv *v1alpha1.ModelVersion, opts Options) v1alpha1.BuildEngine {
	if b := mv.Spec.Build; b != nil && b.Engine != "" {
		return b.Engine
	}
	return cmp.Or(opts.Engine, v1alpha1.Kaniko)
}

func deadlineSeconds(mv *v1alpha1.ModelVersion, opts Options) int64 {
	if b := mv.Spec.Build; b != nil && b.DeadlineSeconds != nil {
		return *b.DeadlineSeconds
	}
	return opts.DeadlineSeconds
}
