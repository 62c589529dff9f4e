package lifecycle

import (
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Argo acts on a Workflow when the Workflow or one of its pods changes, and else only
// after its resync period of 20 minutes. It can miss the event that it needs: a retry
// deletes a pod and creates one of the same name, and if the first still ends at that
// moment, Argo takes it for the second. The Workflow then runs without a pod, and holds
// its lock, until something changes it. So the operator changes an annotation, which makes
// Argo create the pod (v3.7.18: podReconciliation).
const (
	// resyncAfter is how long a Workflow may run without a pod. Argo needs less than a
	// second for the next pod, and a pod's end takes as long.
	resyncAfter = 10 * time.Second
	// resyncInterval is how often Argo is made to look again.
	resyncInterval = time.Minute
)

// withResync returns the verdict on a Workflow that has not finished, with the time at
// which Argo has to look at it again, if it runs without a pod. One that Argo will never
// continue is deleted, which leads to the next attempt.
func withResync(o Observed, v verdict) verdict {
	if !runsWithoutPod(o) || v.terminate != nil {
		return v
	}
	next := o.WaitsSince.Add(resyncAfter)
	if idle := o.Now.Sub(next); idle >= 0 {
		if isLost(o.Followed) {
			v.lost = o.Followed
			return v
		}
		due := next.Add(idle.Truncate(resyncInterval)).UTC().Format(time.RFC3339)
		if o.Followed.Annotations[v1alpha1.AnnotationResync] != due {
			v.resync = o.Followed.DeepCopy()
			v.resync.Annotations = map[string]string{v1alpha1.AnnotationResync: due}
		}
		next = next.Add(idle.Truncate(resyncInterval) + resyncInterval)
	}
	if left := next.Sub(o.Now); v.requeueAfter == 0 || left < v.requeueAfter {
		v.requeueAfter = left
	}
	return v
}

// isLost reports whether Argo waits for containers of a pod that has ended: it took them
// from the pod before, has noted that the pod does not exist, and updates containers with
// their pods only. Terminating such a Workflow does not end it.
func isLost(wf *wfv1.Workflow) bool {
	ended, waits := false, false
	for _, node := range currentNodes(wf) {
		ended = ended || node.Type == wfv1.NodeTypePod && node.FailedOrError()
		waits = waits || node.Type == wfv1.NodeTypeContainer && !node.Phase.Completed()
	}
	return ended && waits
}

// runsWithoutPod reports whether the followed Workflow runs, has no pod that could
// change it, and waits neither for a lock nor for a user.
func runsWithoutPod(o Observed) bool {
	wf := o.Followed
	return wf.Status.Phase == wfv1.WorkflowRunning && o.PodMissing && !waitsForLock(wf) && !isSuspended(wf)
}

// waitsForLock reports whether a Workflow or one of its nodes waits for a lock.
func waitsForLock(wf *wfv1.Workflow) bool {
	if locks := wf.Status.Synchronization; locks != nil {
		if locks.Mutex != nil && len(locks.Mutex.Waiting) > 0 || locks.Semaphore != nil && len(locks.Semaphore.Waiting) > 0 {
			return true
		}
	}
	for _, node := range wf.Status.Nodes {
		if node.SynchronizationStatus != nil && node.SynchronizationStatus.Waiting != "" {
			return true
		}
	}
	return false
}

// isSuspended reports whether a user has suspended a Workflow, or its template waits
// for one.
func isSuspended(wf *wfv1.Workflow) bool {
	if ptr.Deref(wf.Spec.Suspend, false) {
		return true
	}
	for _, node := range wf.Status.Nodes {
		if node.Type == wfv1.NodeTypeSuspend && node.Phase == wfv1.NodeRunning {
			return true
		}
	}
	return false
}
