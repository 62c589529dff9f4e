package lifecycle

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// TrainedBy returns the kind of the workload that a ModelVersion waits for. It
// returns false when the ModelVersion waits for none, or no longer waits, and nil
// when the operator does not watch the kind.
func TrainedBy(mv *v1alpha1.ModelVersion, opts workflow.Options) (*workload.Kind, bool) {
	if isTrained(mv) {
		return nil, false
	}
	return ObservedTraining(mv, opts)
}

// isTrained reports whether a ModelVersion was created from a workload that had
// completed.
func isTrained(mv *v1alpha1.ModelVersion) bool {
	_, trained := mv.Annotations[v1alpha1.AnnotationTrained]
	return trained || mv.Status.Trained
}

// ObservedTraining returns the kind of the workload of which a ModelVersion records what
// it is made from: the one that it waits for, or that it was created from. It returns
// false when there is none, or a build has started, and nil when the operator does not
// watch the kind.
func ObservedTraining(mv *v1alpha1.ModelVersion, opts workflow.Options) (*workload.Kind, bool) {
	named := mv.Spec.TrainedBy
	if named == nil || mv.Status.Workflow != nil {
		return nil, false
	}
	group := schema.FromAPIVersionAndKind(named.APIVersion, named.Kind).Group
	return trainingKind(schema.GroupKind{Group: group, Kind: named.Kind}, opts), true
}

// trainingKind returns how workloads of a kind are read, or nil when the operator does
// not watch the kind.
func trainingKind(kind schema.GroupKind, opts workflow.Options) *workload.Kind {
	i := slices.IndexFunc(opts.TrainingKinds, func(k workload.Kind) bool { return k.GroupKind() == kind })
	if i < 0 {
		return nil
	}
	return &opts.TrainingKinds[i]
}

// awaitTraining returns the verdict on a ModelVersion that cannot be built yet,
// or at all, because of the workload that it names. It returns false when it can
// be built.
func awaitTraining(o Observed, opts workflow.Options) (verdict, bool) {
	mv := o.Version
	kind, waits := TrainedBy(mv, opts)
	if !waits {
		if mv.Status.Workflow == nil && workflow.LacksChiefNode(mv) {
			return chiefUnknown(mv, nil), true
		}
		return verdict{}, false
	}
	named := mv.Spec.TrainedBy
	if kind == nil {
		return fail(v1alpha1.ReasonTrainingKindUnknown, fmt.Sprintf("The operator does not watch the kind %s of %s. The platform team adds it to trainingKinds in the operator's configuration. %s", named.Kind, named.APIVersion, buildNow(mv))), true
	}
	name := named.Kind + " " + named.Name
	if o.Training == nil {
		message := fmt.Sprintf("%s does not exist yet; the build starts when it has completed. %s", name, buildNow(mv))
		if o.TrainingKindMissing {
			message = fmt.Sprintf("The cluster does not have the kind %s of %s yet; the build starts when %s exists and has completed. %s", named.Kind, named.APIVersion, name, buildNow(mv))
		}
		return wait(v1alpha1.ReasonWaitingForTraining, message), true
	}
	switch state, message := kind.StateOf(o.Training); state {
	case workload.Failed:
		if message != "" {
			message = ": " + message
		}
		return fail(v1alpha1.ReasonTrainingFailed, fmt.Sprintf("%s failed%s. Create it again under the same name; the build starts when it has completed. %s", name, message, buildNow(mv))), true
	case workload.Running:
		if message != "" {
			message = ". Whether it has is not known: " + message
		}
		return wait(v1alpha1.ReasonWaitingForTraining, fmt.Sprintf("%s has not completed; the build starts when it has%s. %s", name, message, whileTraining(o))), true
	case workload.Completed:
	}
	if workflow.LacksChiefNode(mv) {
		return chiefUnknown(mv, o.TrainingPods), true
	}
	return verdict{}, false
}

// whileTraining returns what to do while a training runs: how to build without waiting for
// it, and how to correct the lineage that it declares.
func whileTraining(o Observed) string {
	if _, problem := annotatedLineage(o); problem != nil {
		return buildNow(o.Version) + ". " + problem.Message
	}
	return buildNow(o.Version)
}

// chiefUnknown returns the verdict on a ModelVersion whose training has completed
// on a node that these pods do not show.
func chiefUnknown(mv *v1alpha1.ModelVersion, pods []corev1.Pod) verdict {
	_, why := workload.ChiefNode(pods)
	return fail(v1alpha1.ReasonNodeUnknown, fmt.Sprintf("%s %s completed, but the node that has its files is not known: %s. Create a new ModelVersion with nodeName", mv.Spec.TrainedBy.Kind, mv.Spec.TrainedBy.Name, why))
}

// MarkTrained records on a ModelVersion, before it is created, that its training has
// completed, and the node of the training's chief if the files are there.
func MarkTrained(mv *v1alpha1.ModelVersion, pods []corev1.Pod) {
	node := ""
	if workflow.NeedsChiefNode(mv) {
		node, _ = workload.ChiefNode(pods)
	}
	metav1.SetMetaDataAnnotation(&mv.ObjectMeta, v1alpha1.AnnotationTrained, node)
}

// buildNow returns how to build without waiting for the training. Files on a node
// that is not known cannot be built so.
func buildNow(mv *v1alpha1.ModelVersion) string {
	if workflow.NeedsChiefNode(mv) {
		return "To build without waiting, create a new ModelVersion with nodeName and without trainedBy"
	}
	return fmt.Sprintf(`To build without waiting: kubectl patch mv -n %s %s --type=json -p '[{"op":"remove","path":"/spec/trainedBy"}]'`, mv.Namespace, mv.Name)
}

// withChiefNode returns the ModelVersion with the node of its training's chief in
// the status, where it needs one. Where no pod is left, the node that was found
// before stays.
func withChiefNode(mv *v1alpha1.ModelVersion, pods []corev1.Pod) *v1alpha1.ModelVersion {
	trainedOn := mv.Annotations[v1alpha1.AnnotationTrained]
	if len(validation.IsDNS1123Subdomain(trainedOn)) != 0 {
		trainedOn = "" // Users can edit annotations.
	}
	if !workflow.NeedsChiefNode(mv) || mv.Status.Workflow != nil || len(pods) == 0 && trainedOn == "" {
		return mv
	}
	mv = mv.DeepCopy()
	mv.Status.NodeName = trainedOn
	if trainedOn == "" {
		mv.Status.NodeName, _ = workload.ChiefNode(pods)
	}
	return mv
}
