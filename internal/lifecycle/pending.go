package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// A MountFailure is what kubelet reports, in events, about a pod whose volumes
// it cannot mount. The pod itself only waits.
type MountFailure struct {
	// WorkflowUID is the UID of the pod's Workflow.
	WorkflowUID string
	// Messages are kubelet's, the newest last.
	Messages []string
}

// A startBlocker is what keeps a build's pod from starting.
type startBlocker struct {
	// Reason is a reason of the API.
	Reason string
	// Message is one sentence without a full stop.
	Message string
	// Permanent is true if waiting does not help.
	Permanent bool
}

// whileBuilding decides about a Workflow that has not finished: it is waited
// for, or terminated when waiting does not help or has taken too long.
func whileBuilding(o Observed, v verdict, opts workflow.Options) verdict {
	return withResync(o, whileStarting(o, v, opts))
}

// whileStarting is whileBuilding for what keeps a pod from starting, or from ending.
func whileStarting(o Observed, v verdict, opts workflow.Options) verdict {
	mv, wf := o.Version, o.Followed
	if queued, found := queuedPod(o); found {
		v.Reason, v.Message = v1alpha1.ReasonQueued, queuedMessage(wf, queued)
		return v
	}
	v.queuedUntil = queuedUntil(o)
	blocker := startBlockerOf(o)
	left, bounded := startupTimeLeft(o, opts)
	switch {
	case blocker != nil && blocker.Permanent:
		return startFailure(wf, blocker.Reason, fmt.Sprintf("%s: %s", blocker.Message, RebuildCommand(mv)))
	case bounded && left <= 0:
		if blocker == nil {
			blocker = &startBlocker{Reason: v1alpha1.ReasonPodNotStarted, Message: fmt.Sprintf("Workflow %s waits for its pod", wf.Name)}
		}
		return startFailure(wf, blocker.Reason, fmt.Sprintf("%s. The pod did not start within %s, so the build was terminated. After fixing the cause, rebuild with: %s", blocker.Message, opts.PendingTimeout, RebuildCommand(mv)))
	}
	switch {
	case blocker != nil:
		v.Reason, v.Message = blocker.Reason, blocker.Message
	case wf.Status.Phase == wfv1.WorkflowUnknown:
		return whileNotNoticed(o, v, opts)
	}
	if bounded {
		v.requeueAfter = left
		return v
	}
	return whileTerminating(o, withProgress(o, v, opts), opts)
}

// podEndPatience is how long a pod of a running build may take to end after its deletion:
// ten times the grace period of Argo's pods.
const podEndPatience = 5 * time.Minute

// whileTerminating decides about a Workflow of which a pod is being deleted. On a node
// that is gone, the pod stays until the node's object is deleted, and Argo considers it
// running: the build and others that wait for its lock would do so until the deadline, and
// terminating the Workflow does not end it, because no kubelet ends the pod. So the
// Workflow is deleted, and the next attempt starts. If the node still runs the pod, both
// attempts push the same files, the tag last and never over another image.
func whileTerminating(o Observed, v verdict, opts workflow.Options) verdict {
	if o.TerminatingPod == "" {
		return v
	}
	wf, patience := o.Followed, min(podEndPatience, opts.PendingTimeout)
	if left := patience - o.Now.Sub(o.WaitsSince); left > 0 {
		v.requeueAfter = left
		return v
	}
	v.lost = wf
	v.Reason = v1alpha1.ReasonPodLost
	v.Message = fmt.Sprintf("Pod %s of Workflow %s was deleted and has not ended within %s, as on a node that is gone. The Workflow is deleted, and the next attempt starts", o.TerminatingPod, wf.Name, patience)
	return v
}

// argoPatience is how long Argo may take to notice a Workflow before the status says
// that it does not.
const argoPatience = 2 * time.Minute

// whileNotNoticed decides about a Workflow that no controller of Argo has noticed. It
// is waited for: only its message changes.
func whileNotNoticed(o Observed, v verdict, opts workflow.Options) verdict {
	wf := o.Followed
	patience := min(argoPatience, opts.PendingTimeout)
	// After a restart of the operator the wait begins again, but what the status says
	// remains true.
	last := o.Version.Status.Workflow
	reported := last != nil && last.UID == string(wf.UID) && ReadyReason(o.Version) == v1alpha1.ReasonArgoUnavailable
	if left := patience - o.Now.Sub(o.WaitsSince); left > 0 && !reported {
		v.requeueAfter = left
		return v
	}
	v.Reason = v1alpha1.ReasonArgoUnavailable
	v.Message = fmt.Sprintf("No controller of Argo has noticed Workflow %s within %s. Check that one runs, and that it watches namespace %s: one that was started with --namespaced watches only the namespace in --managed-namespace", wf.Name, patience, wf.Namespace)
	if opts.ArgoInstanceID != "" {
		v.Message += fmt.Sprintf(", and only a controller with the instanceID %s runs it", opts.ArgoInstanceID)
	}
	return v
}

// startBlockerOf returns what keeps the pod of the followed Workflow from
// starting, as kubelet and Argo report it, or nil.
func startBlockerOf(o Observed) *startBlocker {
	blocker := reportedBlocker(o)
	if claim := ContestedClaim(o); claim != "" && blocker != nil {
		blocker.Message += ". " + claimAdvice(claim, o.ClaimUsers)
	}
	return blocker
}

func reportedBlocker(o Observed) *startBlocker {
	wf := o.Followed
	var mount *startBlocker
	if m := o.MountFailure; m != nil && m.WorkflowUID == string(wf.UID) && len(m.Messages) > 0 {
		mount = mountBlocker(wf, m.Messages)
	}
	pod, found := pendingPod(o)
	if !found || mount != nil && mount.Permanent {
		return mount
	}
	// The message is from Argo's getPendingReason: the reason, and after a colon
	// the message.
	reason, message, _ := strings.Cut(pod.Message, ":")
	switch reason {
	case "", "ContainerCreating", "PodInitializing":
		return mount
	case "Unschedulable":
		if mount != nil {
			// The pod was scheduled after Argo looked.
			return mount
		}
		return &startBlocker{Reason: v1alpha1.ReasonUnschedulable, Message: fmt.Sprintf("Workflow %s waits for a node: %s", wf.Name, sentence(message))}
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError":
		return &startBlocker{Reason: v1alpha1.ReasonImagePullFailed, Message: fmt.Sprintf("Workflow %s waits for the image of a step: %s", wf.Name, sentence(pod.Message))}
	default:
		message := fmt.Sprintf("Workflow %s waits for its pod: %s", wf.Name, sentence(pod.Message))
		if strings.Contains(pod.Message, podForbidden) {
			message += ". " + allowPod(o.Version, pod.Message)
		}
		// A volume that could not be mounted before is mounted now, since kubelet
		// has proceeded to the containers.
		return &startBlocker{Reason: v1alpha1.ReasonPodNotStarted, Message: message}
	}
}

// pendingPod returns the node of the followed Workflow's pod while the pod is
// pending: not while it waits for a lock that the template asks for, and not
// when it has started since Argo last looked.
func pendingPod(o Observed) (wfv1.NodeStatus, bool) {
	if o.Followed.Status.Phase != wfv1.WorkflowRunning {
		return wfv1.NodeStatus{}, false
	}
	started := sets.New(o.StartedPods...)
	for _, node := range currentNodes(o.Followed) {
		locked := node.SynchronizationStatus != nil && node.SynchronizationStatus.Waiting != ""
		if node.Type == wfv1.NodeTypePod && node.Phase == wfv1.NodePending && !locked && !started.Has(node.ID) {
			return node, true
		}
	}
	return wfv1.NodeStatus{}, false
}

// mountBlocker interprets kubelet's messages. A hostPath of type Directory that
// does not exist, or is something else, does not change by waiting.
func mountBlocker(wf *wfv1.Workflow, messages []string) *startBlocker {
	missing := slices.ContainsFunc(messages, func(message string) bool { return strings.Contains(message, "hostPath type check failed") })
	// The volume of a claim can be a directory of a node too, but the
	// ModelVersion does not name that one.
	if missing && workflow.Argument(wf, contract.ParamStorageKind) == contract.StorageLocal {
		return &startBlocker{
			Reason:    v1alpha1.ReasonSourceMissing,
			Message:   fmt.Sprintf("Node %s has no directory %s. Put the model there, then rebuild with", workflow.Argument(wf, contract.ParamNodeName), workflow.Argument(wf, contract.ParamStoragePath)),
			Permanent: true,
		}
	}
	return &startBlocker{Reason: v1alpha1.ReasonVolumeMountFailed, Message: fmt.Sprintf("Workflow %s waits for a volume: %s", wf.Name, sentence(mostTelling(messages)))}
}

// startupTimeLeft returns how much longer the pod of the followed Workflow may
// take to start, and false when no pod is pending.
func startupTimeLeft(o Observed, opts workflow.Options) (time.Duration, bool) {
	if _, found := pendingPod(o); !found {
		return 0, false
	}
	return opts.PendingTimeout - o.Now.Sub(o.WaitsSince), true
}

// WaitsFor returns what the followed Workflow waits for, or an empty string if it
// waits for nothing whose time is limited: for Argo to notice it, for a pod to
// start or, after its deletion, to end, or for Argo to create one. A pod of a retry has the ID of the one before it,
// so the time at which Argo created the node belongs to the result. It is never compared
// with another clock's.
func WaitsFor(o Observed) string {
	switch wf := o.Followed; {
	case wf == nil:
		return ""
	case wf.Status.Phase == wfv1.WorkflowUnknown:
		return string(wf.UID)
	}
	pod, pending := pendingPod(o)
	_, queued := queuedPod(o)
	switch {
	case queued:
		return ""
	case pending:
		return fmt.Sprintf("%s/%s/%d", o.Followed.UID, pod.ID, pod.StartedAt.Unix())
	case o.TerminatingPod != "":
		return fmt.Sprintf("%s/%s", o.Followed.UID, o.TerminatingPod)
	case runsWithoutPod(o):
		return string(o.Followed.UID) + "/"
	default:
		return ""
	}
}
