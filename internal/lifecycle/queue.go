package lifecycle

import (
	"fmt"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// A QueuedPod is a pod of a Workflow that has scheduling gates. A controller such as
// Kueue's removes them when it is the pod's turn. Argo says nothing about such a pod.
type QueuedPod struct {
	// Node is the ID of the Workflow's node that the pod runs.
	Node string
	// Gates are the names of the gates.
	Gates []string
	// Message is that of the pod's condition PodScheduled, or empty.
	Message string
}

// kueueGates is the prefix of the names of Kueue's scheduling gates.
const kueueGates = "kueue.x-k8s.io/"

// queuedPod returns the pod of the followed Workflow while it has scheduling gates.
func queuedPod(o Observed) (QueuedPod, bool) {
	node, pending := pendingPod(o)
	if !pending {
		return QueuedPod{}, false
	}
	i := slices.IndexFunc(o.QueuedPods, func(pod QueuedPod) bool { return pod.Node == node.ID })
	if i < 0 {
		return QueuedPod{}, false
	}
	return o.QueuedPods[i], true
}

func queuedMessage(wf *wfv1.Workflow, pod QueuedPod) string {
	message := fmt.Sprintf("Workflow %s is queued: its pod waits for the removal of the scheduling gates %s", wf.Name, sentence(strings.Join(pod.Gates, ", ")))
	if words := sentence(pod.Message); words != "" {
		message += ": " + words
	}
	if slices.ContainsFunc(pod.Gates, func(gate string) bool { return strings.HasPrefix(gate, kueueGates) }) {
		message += fmt.Sprintf(". To see what Kueue reports: kubectl describe workloads.kueue.x-k8s.io -n %s", wf.Namespace)
	}
	return message
}

// queuedUntil returns when the gates of the followed Workflow's pod were removed: at
// the first pass that no longer sees them. It returns nil if the pod had none, or is
// not pending.
func queuedUntil(o Observed) *metav1.Time {
	last := o.Version.Status.Workflow
	if _, pending := pendingPod(o); !pending || last == nil || last.UID != string(o.Followed.UID) {
		return nil
	}
	if ReadyReason(o.Version) == v1alpha1.ReasonQueued {
		now := metav1.NewTime(o.Now)
		return &now
	}
	return last.QueuedUntil
}
