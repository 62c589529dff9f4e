package lifecycle_test

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/test/builders"
)

func TestNextStepContestedClaim(t *testing.T) {
	const (
		multiAttach = `Multi-Attach error for volume "pvc-1" Volume is already exclusively attached to one node and can't be attached to another`
		timedOut    = "Unable to attach or mount volumes: unmounted volumes=[claim]: timed out waiting for the condition"
		onePod      = "Unschedulable: 0/2 nodes are available: 2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode."
		usedByWeb   = "Claim trained-models is used by pod web-0 on node node-2. A ReadWriteOnce claim can be used on one node at a time, and a ReadWriteOncePod claim by one pod: delete the pod, or build on its node with spec.build.nodeSelector {kubernetes.io/hostname: node-2}"
		usedByNone  = "No other pod of the namespace uses claim trained-models; its volume may still be attached to the node of a pod that was deleted (kubectl get volumeattachments)"
	)
	web := lifecycle.ClaimUser{Pod: "web-0", Node: "node-2"}
	for name, tt := range map[string]struct {
		events     []string
		pod        string
		users      []lifecycle.ClaimUser
		otherKind  bool
		wantClaim  string
		wantReason string
		want       string
	}{
		"attached elsewhere":           {[]string{multiAttach}, "", []lifecycle.ClaimUser{web}, false, "trained-models", v1alpha1.ReasonVolumeMountFailed, "waits for a volume: " + multiAttach + ". " + usedByWeb},
		"and kubelet has timed out":    {[]string{multiAttach, timedOut}, "", []lifecycle.ClaimUser{web}, false, "trained-models", v1alpha1.ReasonVolumeMountFailed, "waits for a volume: " + multiAttach + ". " + usedByWeb},
		"an error of the driver":       {[]string{`AttachVolume.Attach failed for volume "pvc-1" : disk in use`}, "", nil, false, "trained-models", v1alpha1.ReasonVolumeMountFailed, "disk in use. " + usedByNone},
		"used by one pod":              {nil, onePod, []lifecycle.ClaimUser{web}, false, "trained-models", v1alpha1.ReasonUnschedulable, "ReadWriteOncePod access mode. " + usedByWeb},
		"used by many":                 {[]string{multiAttach}, "", []lifecycle.ClaimUser{{Pod: "a", Node: "node-1"}, {Pod: "b", Node: "node-2"}, {Pod: "c", Node: "node-3"}, {Pod: "d", Node: "node-4"}, {Pod: "e", Node: "node-5"}}, false, "trained-models", v1alpha1.ReasonVolumeMountFailed, "is used by pod a on node node-1, pod b on node node-2, pod c on node node-3, 2 more. A"},
		"another reason to wait":       {[]string{timedOut}, "", nil, false, "", v1alpha1.ReasonVolumeMountFailed, "waits for a volume: Unable to attach"},
		"no node fits":                 {nil, "Unschedulable: 0/2 nodes are available: 2 Insufficient cpu.", nil, false, "", v1alpha1.ReasonUnschedulable, "2 Insufficient cpu"},
		"the files are not in a claim": {[]string{multiAttach}, "", nil, true, "", v1alpha1.ReasonVolumeMountFailed, multiAttach},
	} {
		t.Run(name, func(t *testing.T) {
			wrapper := builders.MakeModelVersion("mv-3", "default").Claim("trained-models", "")
			if tt.otherKind {
				wrapper = builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "kind-control-plane")
			}
			mv := wrapper.Obj()
			wf := builders.MakeWorkflow(mv, 1).Running("").Obj()
			pod := wf.Status.Nodes[builders.PodNode(wf)]
			pod.Message = tt.pod
			wf.Status.Nodes[pod.ID] = pod
			o := lifecycle.Observed{Version: mv, Workflows: []*wfv1.Workflow{wf}, Followed: wf, ClaimUsers: tt.users, TemplateFound: true, Now: builders.Epoch}
			if len(tt.events) > 0 {
				o.MountFailure = &lifecycle.MountFailure{WorkflowUID: string(wf.UID), Messages: tt.events}
			}
			assert.Equal(t, tt.wantClaim, lifecycle.ContestedClaim(o))
			step := nextStep(o, options)
			assert.Equal(t, tt.wantReason, step.Status.Conditions[0].Reason)
			assert.Contains(t, step.Status.Message, tt.want)
		})
	}
}
