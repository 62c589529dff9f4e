package translate

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// justReadySeconds is for how long after a version has become Ready its workloads
// may still wait to try again. The controllers of Kubernetes wait for at most
// 1000 seconds.
const justReadySeconds = 20 * 60

// JustReady says that a version became Ready so short a time ago that workloads
// may not know.
func JustReady(mv *v1alpha1.ModelVersion, now metav1.Time) bool {
	ready := meta.FindStatusCondition(mv.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue && mv.DeletionTimestamp.IsZero() &&
		now.Sub(ready.LastTransitionTime.Time).Seconds() < justReadySeconds
}

// ReadyMark is what is written on a workload that is told of a version.
func ReadyMark(mv *v1alpha1.ModelVersion) string { return mv.Name + "@" + mv.Status.Digest }

// Waits says that a workload has pods that serve a version, or its Model where the
// version is the latest, and not all of them are there; and that it was not told
// of the version before. Workloads are ReplicaSets, StatefulSets, DaemonSets and
// Jobs.
func Waits(workload metav1.Object, mv *v1alpha1.ModelVersion, isLatest bool) bool {
	labels, lacks := podsOf(workload)
	serves := labels[v1alpha1.LabelServeVersion] == mv.Name ||
		isLatest && labels[v1alpha1.LabelServeModel] == mv.Spec.ModelName
	told := workload.GetAnnotations()[v1alpha1.AnnotationModelReady] == ReadyMark(mv)
	return serves && lacks && !told && workload.GetDeletionTimestamp().IsZero()
}

// podsOf are the labels of a workload's pods, and whether it has fewer pods than
// it should. Of other kinds of workloads it is not known.
func podsOf(workload metav1.Object) (labels map[string]string, lacks bool) {
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
	ended := job.Status.CompletionTime != nil
	for _, c := range job.Status.Conditions {
		ended = ended || (c.Type == batchv1.JobFailed && c.Status == "True")
	}
	return !ended && !ptr.Deref(job.Spec.Suspend, false) && job.Status.Active < wanted
}
