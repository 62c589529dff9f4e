package translate

import (
	"fmt"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// MountFailure is what kubelet says, in an event, of a pod whose volumes it
// cannot mount. The pod itself only waits.
type MountFailure struct {
	// WorkflowUID is the UID of the pod's Workflow.
	WorkflowUID string
	// Messages are kubelet's, the newest last.
	Messages []string
}

// hindrance is what keeps a build's pod from starting.
type hindrance struct {
	// Reason is a reason of the API.
	Reason string
	// Message is one sentence without a full stop.
	Message string
	// Hopeless says that waiting does not help.
	Hopeless bool
}

// hindranceOf is what keeps the pod of a Workflow that has not ended from
// starting, as kubelet and Argo know it, or nil.
func hindranceOf(o Observed, wf *wfv1.Workflow) *hindrance {
	var mount *hindrance
	if m := o.MountFailure; m != nil && m.WorkflowUID == string(wf.UID) && len(m.Messages) > 0 {
		mount = mountHindrance(wf, m.Messages)
	}
	pod, found := pendingPod(o, wf)
	if !found || mount != nil && mount.Hopeless {
		return mount
	}
	// Argo's getPendingReason: the reason, and after a colon the message.
	reason, words, _ := strings.Cut(pod.Message, ":")
	switch reason {
	case "", "ContainerCreating", "PodInitializing":
		return mount
	case "Unschedulable":
		if mount != nil {
			// It has a node since Argo looked.
			return mount
		}
		return &hindrance{Reason: v1alpha1.ReasonUnschedulable, Message: fmt.Sprintf("Workflow %s waits for a node: %s", wf.Name, sentence(words))}
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError":
		return &hindrance{Reason: v1alpha1.ReasonImagePullFailed, Message: fmt.Sprintf("Workflow %s waits for the image of a step: %s", wf.Name, sentence(pod.Message))}
	default:
		// A volume that could not be mounted has been since: kubelet has gone on
		// to the containers.
		return &hindrance{Reason: v1alpha1.ReasonPodNotStarted, Message: fmt.Sprintf("Workflow %s waits for its pod: %s", wf.Name, sentence(pod.Message))}
	}
}

// pendingPod is the node of a Workflow's pod, while that is waited for: not for
// a lock that the template asks for, and not when it has started since Argo
// last looked.
func pendingPod(o Observed, wf *wfv1.Workflow) (wfv1.NodeStatus, bool) {
	if wf.Status.Phase != wfv1.WorkflowRunning {
		return wfv1.NodeStatus{}, false
	}
	for _, node := range latestNodes(wf) {
		locked := node.SynchronizationStatus != nil && node.SynchronizationStatus.Waiting != ""
		if node.Type == wfv1.NodeTypePod && node.Phase == wfv1.NodePending && !locked && !slices.Contains(o.StartedPods, node.ID) {
			return node, true
		}
	}
	return wfv1.NodeStatus{}, false
}

// mountHindrance reads kubelet's words: those for a hostPath of type Directory
// that does not exist, or is something else, are final.
func mountHindrance(wf *wfv1.Workflow, words []string) *hindrance {
	missing := slices.ContainsFunc(words, func(each string) bool { return strings.Contains(each, "hostPath type check failed") })
	// A claim's volume can be a folder of a node too, which is nothing that the
	// version names.
	if missing && argument(wf, contract.ParamStorageKind) == contract.StorageLocal {
		return &hindrance{
			Reason:   v1alpha1.ReasonSourceMissing,
			Message:  fmt.Sprintf("Node %s has no folder %s. Put the model there, then", argument(wf, contract.ParamNodeName), argument(wf, contract.ParamStoragePath)),
			Hopeless: true,
		}
	}
	return &hindrance{Reason: v1alpha1.ReasonVolumeMountFailed, Message: fmt.Sprintf("Workflow %s waits for a volume: %s", wf.Name, sentence(words[len(words)-1]))}
}

// patience is how much longer a Workflow's pod may take to start; nothing and
// false when none is waited for.
func patience(o Observed, wf *wfv1.Workflow, opts Options) (metav1.Duration, bool) {
	pod, found := pendingPod(o, wf)
	if !found {
		return metav1.Duration{}, false
	}
	end := pod.StartedAt.Add(opts.PendingTimeout.Duration)
	return metav1.Duration{Duration: end.Sub(o.Now.Time)}, true
}

// whilePending decides for a Workflow that has not ended: it is waited for, or
// ended when waiting does not help or has gone on for too long.
func whilePending(o Observed, current *wfv1.Workflow, status v1alpha1.ModelVersionStatus, opts Options) Step {
	mv := o.Version
	hindered := hindranceOf(o, current)
	left, bounded := patience(o, current, opts)
	switch {
	case hindered != nil && hindered.Hopeless:
		message := fmt.Sprintf("%s: %s", hindered.Message, rebuildCommand(mv))
		return Step{Terminate: unlessEnding(current), Status: failedStatus(mv, status, hindered.Reason, message)}
	case bounded && left.Duration <= 0:
		if hindered == nil {
			hindered = &hindrance{Reason: v1alpha1.ReasonPodNotStarted, Message: fmt.Sprintf("Workflow %s waits for its pod", current.Name)}
		}
		message := fmt.Sprintf("%s. It did not start within %s, and was ended. When that is mended: %s", hindered.Message, opts.PendingTimeout.Duration, rebuildCommand(mv))
		return Step{Terminate: unlessEnding(current), Status: failedStatus(mv, status, hindered.Reason, message)}
	}
	if hindered != nil {
		status = buildingStatus(mv, status, Outcome{Reason: hindered.Reason, Message: hindered.Message})
	}
	if bounded {
		return Step{Status: status, Again: left}
	}
	return withProgress(o, current, Step{Status: status}, opts)
}
