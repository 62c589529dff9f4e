package lifecycle

import (
	"strconv"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Argo acts on a Workflow when the Workflow or one of its pods changes, and else only
// after its resync period of 20 minutes. It can miss the event that it needs: a retry
// deletes a pod and creates one of the same name, and if the first still ends at that
// moment, Argo takes it for the second. The Workflow then runs without a pod, and holds
// its lock, until something changes it, or waits for the results of the pod that is gone:
// ten minutes, or for ever if that pod had none. So the operator changes an annotation, which makes Argo create the pod,
// and marks such results as complete (v3.7.18: podReconciliation, taskResultReconciliation).
const (
	// resyncAfter is how long a Workflow may run without a pod. Argo needs less than a
	// second for the next pod, and a pod's end takes as long.
	resyncAfter = 10 * time.Second
	// resyncInterval is how often Argo is made to look again.
	resyncInterval = time.Minute
)

// A Resync makes Argo look at a Workflow again.
type Resync struct {
	Workflow *wfv1.Workflow
	// Due is the value of the annotation that the Workflow gets.
	Due string
	// Unreported are the IDs of the nodes whose pods have ended and whose results Argo
	// waits for. Its WorkflowTaskResults have these names.
	Unreported []string
}

// withResync returns the verdict on a Workflow that has not finished, with the time at
// which Argo has to look at it again, if it runs without a pod.
func withResync(o Observed, v verdict) verdict {
	if !runsWithoutPod(o) || v.terminate != nil {
		return v
	}
	next := o.WaitsSince.Add(resyncAfter)
	if idle := o.Now.Sub(next); idle >= 0 {
		due := next.Add(idle.Truncate(resyncInterval)).UTC().Format(time.RFC3339)
		if o.Followed.Annotations[v1alpha1.AnnotationResync] != due {
			v.resync = &Resync{Workflow: o.Followed, Due: due, Unreported: unreported(o.Followed)}
		}
		next = next.Add(idle.Truncate(resyncInterval) + resyncInterval)
	}
	if left := next.Sub(o.Now); v.requeueAfter == 0 || left < v.requeueAfter {
		v.requeueAfter = left
	}
	return v
}

// maxUnreported is how many results are marked as complete at a time. Ours has one.
const maxUnreported = 10

// unreported returns the IDs of the nodes that have ended and whose results are missing.
func unreported(wf *wfv1.Workflow) []string {
	var ids []string
	for _, node := range currentNodes(wf) {
		if node.Type == wfv1.NodeTypePod && node.Phase.Completed() && !ptr.Deref(node.TaskResultSynced, true) && isNodeOf(wf, node.ID) && len(ids) < maxUnreported {
			ids = append(ids, node.ID)
		}
	}
	return ids
}

// isNodeOf reports whether an ID has the form of those that Argo gives to the nodes of a
// Workflow: its name, or that and a hash (NodeID in v3.7.18). The IDs name objects that the
// operator changes, and users can write others into the status.
func isNodeOf(wf *wfv1.Workflow, id string) bool {
	hash, found := strings.CutPrefix(id, wf.Name+"-")
	_, err := strconv.ParseUint(hash, 10, 32)
	return id == wf.Name || found && err == nil
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
