package workload

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A Kind is a kind of training workload, and how its state is read.
type Kind struct {
	schema.GroupVersionKind
	// Completed and Failed are the platform team's expressions for a workload that
	// has completed, and for one that has failed. Where one is nil, what is known of
	// the kind applies, or that a condition Failed means failure.
	Completed, Failed *Expression
}

// TrainingKinds returns the kinds of training workloads that are supported
// without configuration. A cluster need not have them.
func TrainingKinds() []Kind {
	return []Kind{
		{GroupVersionKind: schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}},
		{GroupVersionKind: schema.GroupVersionKind{Group: "jobset.x-k8s.io", Version: "v1alpha2", Kind: "JobSet"}},
		{GroupVersionKind: schema.GroupVersionKind{Group: "kubeflow.org", Version: "v1", Kind: "PyTorchJob"}},
		{GroupVersionKind: schema.GroupVersionKind{Group: "kubeflow.org", Version: "v1", Kind: "TFJob"}},
		{GroupVersionKind: schema.GroupVersionKind{Group: "trainer.kubeflow.org", Version: "v1alpha1", Kind: "TrainJob"}},
	}
}

// IsKnown reports whether it is known how a workload of this kind completes, without
// an expression.
func (k Kind) IsKnown() bool { return knownRules[k.GroupKind()] != nil }

// StateOf returns how far a workload of this kind is. The message is why it failed,
// or why it is not known whether it has completed: an expression that fails leaves
// the workload running. A workload that has failed has not completed, whatever else
// its status says.
func (k Kind) StateOf(object *unstructured.Unstructured) (State, string) {
	known := knownRules[k.GroupKind()]
	if known == nil {
		known = byConditions
	}
	state, message := known(statusOf(object))
	if k.Completed == nil && k.Failed == nil {
		return state, message
	}
	failed, err := state == Failed, error(nil)
	if k.Failed != nil {
		message = sentenceOf(statusOf(object), "reason", "message")
		failed, err = k.Failed.holds(object)
	}
	if err != nil {
		return Running, "the expression failed of trainingKinds " + err.Error()
	}
	if failed {
		return Failed, message
	}
	completed := state == Completed
	if k.Completed != nil {
		completed, err = k.Completed.holds(object)
	}
	switch {
	case err != nil:
		return Running, "the expression completed of trainingKinds " + err.Error()
	case completed:
		return Completed, ""
	default:
		return Running, ""
	}
}
