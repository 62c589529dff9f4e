package lifecycle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// A ClaimUser is a pod that uses a PersistentVolumeClaim.
type ClaimUser struct {
	// Pod is the pod's name, and Node that of its node.
	Pod, Node string
}

// maxClaimUsers is how many pods a message names.
const maxClaimUsers = 3

// ContestedClaim returns the claim of the followed Workflow if its pod does not start
// because another pod may hold it, or an empty string.
func ContestedClaim(o Observed) string {
	wf := o.Followed
	if wf == nil || workflow.Argument(wf, contract.ParamStorageKind) != contract.StorageClaim {
		return ""
	}
	var messages []string
	if m := o.MountFailure; m != nil && m.WorkflowUID == string(wf.UID) {
		messages = m.Messages
	}
	if pod, found := pendingPod(o); found {
		messages = append(slices.Clone(messages), pod.Message)
	}
	if !slices.ContainsFunc(messages, tellsOfUse) {
		return ""
	}
	return workflow.Argument(wf, contract.ParamClaimName)
}

// tellsOfUse reports whether a message of kubelet, of the controller that attaches
// volumes or of the scheduler may be caused by another pod that uses the volume.
func tellsOfUse(message string) bool {
	return strings.HasPrefix(message, "AttachVolume.") || strings.Contains(message, "Multi-Attach error") || strings.Contains(message, "ReadWriteOncePod")
}

// mostTelling returns the newest of these messages, or the newest that says that a
// volume is in use: kubelet only reports that it timed out.
func mostTelling(messages []string) string {
	for _, message := range slices.Backward(messages) {
		if tellsOfUse(message) {
			return message
		}
	}
	return messages[len(messages)-1]
}

// claimAdvice returns who uses a claim, and what to do about it.
func claimAdvice(claim string, users []ClaimUser) string {
	if len(users) == 0 {
		return fmt.Sprintf("No other pod of the namespace uses claim %s; its volume may still be attached to the node of a pod that was deleted (kubectl get volumeattachments)", claim)
	}
	var names []string
	for _, user := range users[:min(len(users), maxClaimUsers)] {
		names = append(names, fmt.Sprintf("pod %s on node %s", user.Pod, user.Node))
	}
	if more := len(users) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return fmt.Sprintf("Claim %s is used by %s. A ReadWriteOnce claim can be used on one node at a time, and a ReadWriteOncePod claim by one pod: delete the pod, or build on its node with spec.build.nodeSelector {kubernetes.io/hostname: %s}", claim, strings.Join(names, ", "), users[0].Node)
}
