package translate

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Reasons of events on workloads that carry a version's spec.
const (
	// EventCreated says that the version was made.
	EventCreated = "ModelVersionCreated"
	// EventRefused says that the version cannot be made, and why.
	EventRefused = "ModelVersionRefused"
	// EventNotAllowed says that no versions are made in the namespace.
	EventNotAllowed = "ModelVersionsNotAllowed"
)

// CarriedStep is what has to be done about a workload that carries a version's
// spec.
type CarriedStep struct {
	// Version is the workload's version; nil when there is nothing to do.
	Version *v1alpha1.ModelVersion
	// Create says that the version is to be made now. It is only tried
	// otherwise, so that a mistake shows before the training has ended.
	Create bool
	// Problem is why there cannot be a version, for an event; nil otherwise.
	Problem *Problem
}

// NextCarried decides what to do about a workload. Allowed says that the
// namespace lets workloads make versions.
func NextCarried(workload *unstructured.Unstructured, allowed bool, opts Options) CarriedStep {
	state, _ := trainingState(workload)
	switch {
	case !carries(workload), workload.GetDeletionTimestamp() != nil, state == trainingFailed:
		return CarriedStep{}
	case workload.GetAnnotations()[v1alpha1.AnnotationMadeVersion] == string(workload.GetUID()):
		return CarriedStep{}
	case !allowed:
		return CarriedStep{Problem: &Problem{EventNotAllowed, NotAllowed(workload.GetNamespace())}}
	}
	version, problem := CarriedVersion(workload, opts)
	if problem != nil {
		return CarriedStep{Problem: problem}
	}
	return CarriedStep{Version: version, Create: state == trainingCompleted}
}

// NotAllowed says that no versions are made in a namespace, and what to do.
func NotAllowed(namespace string) string {
	return fmt.Sprintf("Namespace %s does not let workloads make ModelVersions. Whoever may label it runs: kubectl label namespace %s %s=true", namespace, namespace, v1alpha1.LabelVersionsFromWorkloads)
}

func carries(workload *unstructured.Unstructured) bool {
	_, annotated := workload.GetAnnotations()[v1alpha1.AnnotationModelVersion]
	return annotated
}

// CarriedVersion is the version whose spec a workload carries, or the Problem
// with that spec. What the API server says about it is not asked here.
func CarriedVersion(workload *unstructured.Unstructured, opts Options) (*v1alpha1.ModelVersion, *Problem) {
	mv := &v1alpha1.ModelVersion{ObjectMeta: metav1.ObjectMeta{Namespace: workload.GetNamespace(), Name: carriedName(workload)}}
	if err := parseSpec(workload.GetAnnotations()[v1alpha1.AnnotationModelVersion], &mv.Spec); err != nil {
		return nil, carriedProblem("is not the spec of a ModelVersion: " + sentence(err.Error()))
	}
	if mv.Spec.TrainedBy != nil {
		return nil, carriedProblem("has trainedBy, which is the workload itself: leave it out")
	}
	mv.Spec.TrainedBy = &v1alpha1.Workload{APIVersion: workload.GetAPIVersion(), Kind: workload.GetKind(), Name: workload.GetName()}
	if mv.Spec.CreatedBy == "" {
		mv.Spec.CreatedBy = workload.GetName()
	}
	if problem := trainingProblem(mv, opts); problem != nil {
		return nil, carriedProblem("cannot be built: " + problem.Message)
	}
	return mv, nil
}

// parseSpec reads a spec as strictly as kubectl apply reads a manifest.
func parseSpec(text string, into *v1alpha1.ModelVersionSpec) error {
	raw, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return err
	}
	strict, err := json.UnmarshalStrict(raw, into)
	return errors.Join(append(strict, err)...)
}

func carriedProblem(words string) *Problem {
	return &Problem{EventRefused, fmt.Sprintf("Annotation %s %s", v1alpha1.AnnotationModelVersion, words)}
}

// CarriedRefused is the Problem with a version that the API server refuses.
func CarriedRefused(words string) *Problem {
	return carriedProblem("is refused by the API server: " + sentence(words))
}

// carriedName is mv-<workload>-<uid5>. A pod's label can hold it: a name longer
// than that is cut, with a hash of the whole in its place.
func carriedName(workload *unstructured.Unstructured) string {
	suffix := "-" + uidPrefix(workload.GetUID(), 5)
	name := "mv-" + workload.GetName()
	if len(name)+len(suffix) <= validation.LabelValueMaxLength {
		return name + suffix
	}
	return shorten(name, validation.LabelValueMaxLength-len(suffix)) + suffix
}

// CarriedTraining is a pod of a workload that carries a version's spec, with that
// version's storage and its name as the pod's label: what Training is for a
// version that is there.
func CarriedTraining(pod *corev1.Pod, mv *v1alpha1.ModelVersion, opts Options) (*corev1.Pod, *Problem) {
	if mv.Spec.Storage.AWSEfs != nil {
		return pod, carriedProblem("has storage AWSEfs, whose claim is made with the ModelVersion: apply the ModelVersion beside the workload, with trainedBy, and let the pod's label name it")
	}
	trained, problem := Training(pod, mv, opts)
	if problem != nil {
		return pod, problem
	}
	metav1.SetMetaDataLabel(&trained.ObjectMeta, v1alpha1.LabelTrainVersion, mv.Name)
	return trained, nil
}
