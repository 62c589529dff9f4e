package controller

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// exceptOwnCreates drops the event for a Workflow that the operator has created and
// Argo has not seen yet: the pass that created it has also written the status. A
// resubmitted Workflow has a generated name.
func exceptOwnCreates() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			return e.Object.GetGenerateName() != "" || e.Object.GetLabels()[labelPhase] != ""
		},
	}
}

// rebuildRequested selects ModelVersions whose rebuild annotation has changed.
func rebuildRequested() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetAnnotations()[v1alpha1.AnnotationRebuild] != e.ObjectNew.GetAnnotations()[v1alpha1.AnnotationRebuild]
		},
	}
}

// detached selects ModelVersions that a change has removed from their Model. The
// operator's own change, which adds them, starts no pass.
func detached() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			mv, ok := e.ObjectNew.(*v1alpha1.ModelVersion)
			return ok && lifecycle.IsDetached(mv)
		},
	}
}

// gatesChanged selects pods that have got or lost their scheduling gates, or whose
// queue reports something else about them. Argo does not update its Workflow then.
func gatesChanged() predicate.Predicate {
	gates := func(o client.Object) (bool, string) {
		pod, isPod := o.(*corev1.Pod)
		if !isPod || len(pod.Spec.SchedulingGates) == 0 {
			return false, ""
		}
		return true, gatedMessage(pod)
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			gated, _ := gates(e.Object)
			return gated
		},
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			gatedBefore, messageBefore := gates(e.ObjectOld)
			gated, message := gates(e.ObjectNew)
			return gatedBefore != gated || messageBefore != message
		},
	}
}

// deletionChanged selects objects that a change has marked for deletion, and those that
// are gone. Argo does not update the Workflow of such a pod before it has ended, and may
// not notice that it is gone.
func deletionChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetDeletionTimestamp() == nil && e.ObjectNew.GetDeletionTimestamp() != nil
		},
	}
}

// latestChanged selects Models that have got another latest ModelVersion, or another
// image of it.
func latestChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return !equality.Semantic.DeepEqual(latestOf(e.ObjectOld), latestOf(e.ObjectNew))
		},
	}
}

// latestOf returns the latest ModelVersion in the status of a Model, or of a
// ModelVersion the part that it can have in that.
func latestOf(o client.Object) *v1alpha1.LatestVersion {
	switch o := o.(type) {
	case *v1alpha1.Model:
		return o.Status.LatestVersion
	case *v1alpha1.ModelVersion:
		return lifecycle.Latest([]v1alpha1.ModelVersion{*o})
	default:
		return nil
	}
}

// canBeLatest selects ModelVersions whose creation, change or deletion may change which
// one is the latest of their Model.
func canBeLatest() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return latestOf(e.Object) != nil },
		DeleteFunc: func(e event.DeleteEvent) bool { return latestOf(e.Object) != nil },
		UpdateFunc: latestChanged().Update,
	}
}

func onlyDeletes() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

func onlyCreates() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		DeleteFunc:  func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}
