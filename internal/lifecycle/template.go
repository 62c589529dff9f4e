package lifecycle

import (
	"errors"
	"fmt"
	"slices"

	yamlv3 "go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// Reasons of events on workloads that have the template of a ModelVersion.
const (
	// EventCreated means that the ModelVersion was created.
	EventCreated = "ModelVersionCreated"
	// EventRefused means that the ModelVersion cannot be created, and why.
	EventRefused = "ModelVersionRefused"
	// EventNotAllowed means that the namespace does not allow its workloads to
	// create ModelVersions.
	EventNotAllowed = "ModelVersionsNotAllowed"
)

// A TemplateStep is what has to be done about a workload that has the template of
// a ModelVersion.
type TemplateStep struct {
	// Version is the ModelVersion, or nil when there is nothing to do.
	Version *v1alpha1.ModelVersion
	// Create is true if the ModelVersion has to be created. Before that it is created as a
	// dry run, so that a mistake shows before the training has ended.
	Create bool
	// Problem is why there cannot be a ModelVersion, for an event, or nil.
	Problem *workflow.Problem
}

// NextTemplateStep decides what to do about a workload. Allowed is true if the
// namespace allows its workloads to create ModelVersions.
func NextTemplateStep(object *unstructured.Unstructured, allowed bool, opts workflow.Options) TemplateStep {
	state := stateOf(object, opts)
	switch {
	case !workload.HasTemplate(object), object.GetDeletionTimestamp() != nil, state == workload.Failed:
		return TemplateStep{}
	case object.GetAnnotations()[v1alpha1.AnnotationMadeVersion] == string(object.GetUID()):
		return TemplateStep{}
	case !allowed:
		return TemplateStep{Problem: &workflow.Problem{Reason: EventNotAllowed, Message: NotAllowed(object.GetNamespace())}}
	}
	version, problem := FromTemplate(object, opts)
	if problem != nil {
		return TemplateStep{Problem: problem}
	}
	return TemplateStep{Version: version, Create: state == workload.Completed}
}

// stateOf returns how far a workload is. One of a kind that the operator does not
// watch has not ended.
func stateOf(object *unstructured.Unstructured, opts workflow.Options) workload.State {
	kind := trainingKind(object.GroupVersionKind().GroupKind(), opts)
	if kind == nil {
		return workload.Running
	}
	state, _ := kind.StateOf(object)
	return state
}

// NotAllowed returns the message for a namespace that does not allow its
// workloads to create ModelVersions.
func NotAllowed(namespace string) string {
	return fmt.Sprintf("Namespace %s does not allow workloads to create ModelVersions. To allow it: kubectl label namespace %s %s=true", namespace, namespace, v1alpha1.LabelVersionsFromWorkloads)
}

// FromTemplate returns the ModelVersion that a workload's template stands for,
// or the Problem with the template. It does not check what only the API server
// can check.
func FromTemplate(object *unstructured.Unstructured, opts workflow.Options) (*v1alpha1.ModelVersion, *workflow.Problem) {
	mv := &v1alpha1.ModelVersion{ObjectMeta: metav1.ObjectMeta{
		Namespace: object.GetNamespace(),
		Name:      workflow.ModelVersionName(object.GetName(), object.GetUID()),
	}}
	if err := parse(object.GetAnnotations()[v1alpha1.AnnotationModelVersion], maxTemplate, &mv.Spec); err != nil {
		return nil, TemplateProblem("is not the spec of a ModelVersion: " + sentence(err.Error()))
	}
	if mv.Spec.TrainedBy != nil {
		return nil, TemplateProblem("must not set trainedBy, which is the workload itself: remove it")
	}
	mv.Spec.TrainedBy = &v1alpha1.Workload{APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Name: object.GetName()}
	if mv.Spec.CreatedBy == "" {
		mv.Spec.CreatedBy = object.GetName()
	}
	if problem := workflow.StorageProblem(mv, opts); problem != nil {
		return nil, TemplateProblem("cannot be built: " + problem.Message)
	}
	return mv, nil
}

// maxTemplate is the size of a template in bytes: many times what the spec of a
// ModelVersion needs.
const maxTemplate = 16 << 10

// parse parses an annotation of at most limit bytes as strictly as kubectl apply parses a
// manifest.
func parse(text string, limit int, into any) error {
	if len(text) > limit {
		return fmt.Errorf("it has %d bytes, and at most %d are read", len(text), limit)
	}
	var document yamlv3.Node
	if err := yamlv3.Unmarshal([]byte(text), &document); err != nil {
		return err
	}
	// A text with an alias that it repeats can stand for one of its square: 20 MB.
	if hasAlias(&document) {
		return errors.New("it has an alias of YAML (*NAME): write the value in its place")
	}
	raw, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return err
	}
	strict, err := json.UnmarshalStrict(raw, into)
	return errors.Join(append(strict, err)...)
}

// hasAlias reports whether a part of a document is an alias of another part.
func hasAlias(node *yamlv3.Node) bool {
	return node.Kind == yamlv3.AliasNode || slices.ContainsFunc(node.Content, hasAlias)
}

// TemplateProblem returns the Problem with a workload's template. What is wrong
// completes the sentence that begins with the annotation.
func TemplateProblem(what string) *workflow.Problem {
	return &workflow.Problem{Reason: EventRefused, Message: fmt.Sprintf("Annotation %s %s", v1alpha1.AnnotationModelVersion, what)}
}

// TemplateNotPermitted returns the Problem with a template on a workload that the
// operator has no permission to annotate.
func TemplateNotPermitted(message string) *workflow.Problem {
	return TemplateProblem("is not used, because the operator may not annotate the workload: ask the platform team to grant the permission, which the component deploy/components/versions-from-workloads contains. The API server says: " + sentence(message))
}

// TemplateRejected returns the Problem with a template whose ModelVersion the API
// server rejects.
func TemplateRejected(message string) *workflow.Problem {
	return TemplateProblem("was rejected by the API server: " + sentence(message))
}
