package workload

import (
	"cmp"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// maxRetryDelay is how long after a ModelVersion became Ready workloads may
// still wait to retry. The controllers of Kubernetes back off for at most 1000
// seconds.
const maxRetryDelay = 20 * time.Minute

// BecameReady reports whether a ModelVersion became Ready so recently that
// workloads may not have retried since.
func BecameReady(mv *v1alpha1.ModelVersion, now time.Time) bool {
	ready := meta.FindStatusCondition(mv.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue && mv.DeletionTimestamp.IsZero() &&
		now.Sub(ready.LastTransitionTime.Time) < maxRetryDelay
}

// ReadyMark returns the value of the annotation model-ready on a workload that was
// notified of a ModelVersion.
func ReadyMark(mv *v1alpha1.ModelVersion) string { return mv.Name + "@" + mv.Status.Digest }

// Unblocked are ModelVersions of one namespace that have become Ready. The zero value has
// none.
type Unblocked struct {
	byName map[string]*v1alpha1.ModelVersion
	// byAlias are the ModelVersions by their Models and aliases.
	byAlias map[[2]string]*v1alpha1.ModelVersion
}

// Add adds a ModelVersion with the aliases that stand for it. The alias "" is that of the
// Model's latest version.
func (u *Unblocked) Add(mv *v1alpha1.ModelVersion, aliases map[string]bool) {
	if u.byName == nil {
		u.byName, u.byAlias = map[string]*v1alpha1.ModelVersion{}, map[[2]string]*v1alpha1.ModelVersion{}
	}
	u.byName[mv.Name] = mv
	for alias, standsForIt := range aliases {
		if standsForIt {
			u.byAlias[[2]string{mv.Spec.ModelName, alias}] = mv
		}
	}
}

// IsEmpty reports whether there are none.
func (u *Unblocked) IsEmpty() bool { return len(u.byName) == 0 }

// BlockerOf returns the ModelVersion that a workload serves, by its name, or as the
// latest or an alias of its Model, if the workload still lacks pods and was not notified of it before.
// Otherwise it returns nil. Workloads are ReplicaSets, StatefulSets, DaemonSets and Jobs.
func (u *Unblocked) BlockerOf(workload metav1.Object) *v1alpha1.ModelVersion {
	labels, lacksPods := podsOf(workload)
	mv := cmp.Or(u.byName[labels[v1alpha1.LabelServeVersion]], u.byAlias[[2]string{labels[v1alpha1.LabelServeModel], labels[v1alpha1.LabelServeAlias]}])
	if mv == nil || !lacksPods || !workload.GetDeletionTimestamp().IsZero() || workload.GetAnnotations()[v1alpha1.AnnotationModelReady] == ReadyMark(mv) {
		return nil
	}
	return mv
}

// podsOf returns the labels of a workload's pods, and whether it has fewer pods
// than desired. For other kinds of workloads it returns nothing.
func podsOf(workload metav1.Object) (labels map[string]string, lacksPods bool) {
	switch w := workload.(type) {
	case *appsv1.ReplicaSet:
		return w.Spec.Template.Labels, w.Status.Replicas < ptr.Deref(w.Spec.Replicas, 1)
	case *appsv1.StatefulSet:
		return w.Spec.Template.Labels, w.Status.Replicas < ptr.Deref(w.Spec.Replicas, 1)
	case *appsv1.DaemonSet:
		return w.Spec.Template.Labels, w.Status.CurrentNumberScheduled < w.Status.DesiredNumberScheduled
	case *batchv1.Job:
		return w.Spec.Template.Labels, jobLacksPods(w)
	default:
		return nil, false
	}
}

func jobLacksPods(job *batchv1.Job) bool {
	wanted := ptr.Deref(job.Spec.Parallelism, 1)
	if job.Spec.Completions != nil {
		wanted = min(wanted, *job.Spec.Completions-job.Status.Succeeded)
	}
	finished := job.Status.CompletionTime != nil
	for _, c := range job.Status.Conditions {
		finished = finished || (c.Type == batchv1.JobFailed && c.Status == "True")
	}
	return !finished && !ptr.Deref(job.Spec.Suspend, false) && job.Status.Active < wanted
}
