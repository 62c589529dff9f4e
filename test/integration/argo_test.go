package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/translate"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Labels that Argo sets or keeps.
const (
	labelWorkflow        = "workflows.argoproj.io/workflow"
	labelPhase           = "workflows.argoproj.io/phase"
	labelCompleted       = "workflows.argoproj.io/completed"
	labelResubmittedFrom = "workflows.argoproj.io/resubmitted-from-workflow"
)

// digest is that of every image that argoStandIn says was pushed.
const digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

// argoStandIn writes into Workflows what Argo's controller would, and does to
// them what the argo command does. No pod runs.
type argoStandIn struct {
	t         *testing.T
	client    client.Client
	namespace string
}

// workflows are those of the namespace, by name.
func (a argoStandIn) workflows() []wfv1.Workflow {
	a.t.Helper()
	var list wfv1.WorkflowList
	require.NoError(a.t, a.client.List(a.t.Context(), &list, client.InNamespace(a.namespace)))
	return list.Items
}

// awaitWorkflow is the Workflow of this name, once it exists.
func (a argoStandIn) awaitWorkflow(name string) *wfv1.Workflow {
	a.t.Helper()
	wf := &wfv1.Workflow{}
	require.EventuallyWithT(a.t, func(c *assert.CollectT) {
		require.NoError(c, a.client.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: name}, wf))
	}, deadline, tick, "Workflow %s was not made", name)
	return wf
}

// awaitAttempt is the Workflow of a version's nth attempt, once it exists.
func (a argoStandIn) awaitAttempt(mv *v1alpha1.ModelVersion, n int64) *wfv1.Workflow {
	a.t.Helper()
	return a.awaitWorkflow(translate.WorkflowName(mv.Name, mv.UID, n))
}

// awaitOnlyWorkflow is the namespace's only Workflow, once there is one.
func (a argoStandIn) awaitOnlyWorkflow() *wfv1.Workflow {
	a.t.Helper()
	var list []wfv1.Workflow
	require.EventuallyWithT(a.t, func(c *assert.CollectT) {
		list = a.workflows()
		assert.NotEmpty(c, list)
	}, deadline, tick, "no Workflow was made")
	require.Len(a.t, list, 1)
	return &list[0]
}

// write changes a Workflow as Argo's controller does: the whole of its status
// at once. The Workflow is read again, since the operator may have patched its
// spec.
func (a argoStandIn) write(wf *wfv1.Workflow, edit func(*wfv1.Workflow)) *wfv1.Workflow {
	a.t.Helper()
	now := &wfv1.Workflow{}
	require.NoError(a.t, a.client.Get(a.t.Context(), client.ObjectKeyFromObject(wf), now))
	before := now.DeepCopy()
	edit(now)
	require.NoError(a.t, a.client.Patch(a.t.Context(), now, client.MergeFrom(before)))
	return now
}

func (a argoStandIn) phase(now *wfv1.Workflow, phase wfv1.WorkflowPhase, message string) {
	now.Status.Phase, now.Status.Message = phase, message
	now.Labels[labelPhase] = string(phase)
	now.Labels[labelCompleted] = fmt.Sprint(phase.Completed())
	if phase.Completed() {
		now.Status.FinishedAt = metav1.Now()
	}
}

// node writes the node of the build's pod, or with a step of a container in
// it. The pod's has the Workflow's own name, as the entrypoint of a template
// that tries nothing again.
func node(now *wfv1.Workflow, step string, phase wfv1.NodePhase, message string) {
	n := wfv1.NodeStatus{ID: now.Name, Name: now.Name, DisplayName: now.Name, TemplateName: contract.EntrypointTemplate, Type: wfv1.NodeTypePod}
	if step != "" {
		n = wfv1.NodeStatus{ID: now.NodeID(now.Name + "." + step), Name: now.Name + "." + step, DisplayName: step, Type: wfv1.NodeTypeContainer, BoundaryID: now.Name}
	}
	n.Phase, n.Message, n.StartedAt = phase, message, now.Status.StartedAt
	if phase.Fulfilled(nil) {
		n.FinishedAt = metav1.Now()
	}
	if now.Status.Nodes == nil {
		now.Status.Nodes = wfv1.Nodes{}
	}
	now.Status.Nodes[n.ID] = n
}

// postpones a Workflow: it waits for a lock or a limit.
func (a argoStandIn) postpones(wf *wfv1.Workflow, message string) {
	a.t.Helper()
	a.write(wf, func(now *wfv1.Workflow) {
		now.Status.StartedAt = metav1.Now()
		a.phase(now, wfv1.WorkflowPending, message)
	})
}

// runs a step of a Workflow. The containers of those after it run too, and wait.
func (a argoStandIn) runs(wf *wfv1.Workflow, step string) {
	a.t.Helper()
	a.write(wf, func(now *wfv1.Workflow) {
		if now.Status.StartedAt.IsZero() {
			now.Status.StartedAt = metav1.Now()
		}
		a.phase(now, wfv1.WorkflowRunning, "")
		node(now, "", wfv1.NodeRunning, "")
		phase := wfv1.NodeSucceeded
		for _, each := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
			if each == step {
				phase = wfv1.NodeRunning
			}
			if ended := now.Status.Nodes[now.NodeID(now.Name+"."+each)]; ended.Phase != phase {
				node(now, each, phase, "")
			}
		}
	})
}

// stepEnds says that a step of a Workflow has ended well.
func (a argoStandIn) stepEnds(wf *wfv1.Workflow, step string) {
	a.t.Helper()
	a.write(wf, func(now *wfv1.Workflow) { node(now, step, wfv1.NodeSucceeded, "") })
}

// succeeds ends a Workflow with a report that proves it.
func (a argoStandIn) succeeds(wf *wfv1.Workflow) *wfv1.Workflow {
	a.t.Helper()
	return a.ends(wf, wfv1.WorkflowSucceeded, "", goodReport(wf))
}

// fails ends a Workflow with the report of a step that failed.
func (a argoStandIn) fails(wf *wfv1.Workflow, step, reason, message string) *wfv1.Workflow {
	a.t.Helper()
	r := goodReport(wf)
	r.Image = nil
	r.Failure = &report.Failure{Step: step, Reason: reason, Message: message}
	return a.ends(wf, wfv1.WorkflowFailed, "Error (exit code 64): dependency failed", r)
}

func (a argoStandIn) ends(wf *wfv1.Workflow, phase wfv1.WorkflowPhase, message string, r report.Report) *wfv1.Workflow {
	a.t.Helper()
	raw, err := json.Marshal(r)
	require.NoError(a.t, err)
	return a.write(wf, func(now *wfv1.Workflow) {
		if now.Status.StartedAt.IsZero() {
			now.Status.StartedAt = metav1.Now()
		}
		a.phase(now, phase, message)
		node(now, "", wfv1.NodePhase(phase), message)
		// An output of the pod, which the template makes one of the Workflow.
		output := wfv1.Parameter{Name: contract.OutputReport, GlobalName: contract.OutputReport, Value: wfv1.AnyStringPtr(string(raw))}
		pod := now.Status.Nodes[now.Name]
		pod.Outputs = &wfv1.Outputs{Parameters: []wfv1.Parameter{output}}
		now.Status.Nodes[now.Name] = pod
		now.Status.Outputs = &wfv1.Outputs{Parameters: []wfv1.Parameter{{Name: contract.OutputReport, Value: output.Value}}}
	})
}

// endsWithoutReport ends a Workflow of which no step left a word.
func (a argoStandIn) endsWithoutReport(wf *wfv1.Workflow, phase wfv1.WorkflowPhase, message string) {
	a.t.Helper()
	a.write(wf, func(now *wfv1.Workflow) {
		a.phase(now, phase, message)
		node(now, "", wfv1.NodePhase(phase), message)
	})
}

// goodReport is what the steps of a Workflow report when all goes well.
func goodReport(wf *wfv1.Workflow) report.Report {
	image := argument(wf, contract.ParamImage)
	return report.Report{
		Run:    report.Run{WorkflowUID: string(wf.UID), ModelVersionUID: argument(wf, contract.ParamModelVersionUID), Image: image},
		Source: &report.Source{Files: 3, Bytes: 50 << 20, Layers: 2},
		Build:  &report.Build{},
		Image:  &report.Image{Reference: image, Digest: digest, Bytes: 30 << 20, Layers: 3, PullSecret: contract.DefaultPushSecret},
	}
}

// retry is argo retry: the same Workflow, started again, its old outputs left
// in place.
func (a argoStandIn) retry(wf *wfv1.Workflow) *wfv1.Workflow {
	a.t.Helper()
	return a.write(wf, func(now *wfv1.Workflow) {
		now.Spec.Shutdown = ""
		now.Status.StartedAt = secondAfter(now.Status.StartedAt)
		now.Status.FinishedAt = metav1.Time{}
		now.Status.Nodes = nil
		a.phase(now, wfv1.WorkflowRunning, "")
		delete(now.Labels, labelCompleted)
		node(now, "", wfv1.NodePending, "")
	})
}

// secondAfter is now, or where that is the same second the next one. People
// are never that fast.
func secondAfter(t metav1.Time) metav1.Time {
	now := metav1.Now()
	if now.Unix() <= t.Unix() {
		return metav1.NewTime(t.Add(time.Second))
	}
	return now
}

// resubmit is argo resubmit: a copy of the Workflow with its labels,
// annotations and owners, and a name of its own.
func (a argoStandIn) resubmit(as client.Client, wf *wfv1.Workflow) *wfv1.Workflow {
	a.t.Helper()
	next := &wfv1.Workflow{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       wf.Namespace,
			GenerateName:    wf.Name + "-",
			Labels:          maps.Clone(wf.Labels),
			Annotations:     maps.Clone(wf.Annotations),
			OwnerReferences: wf.OwnerReferences,
		},
		Spec: *wf.Spec.DeepCopy(),
	}
	next.Spec.Shutdown = ""
	delete(next.Labels, labelPhase)
	delete(next.Labels, labelCompleted)
	next.Labels[labelResubmittedFrom] = wf.Name
	require.NoError(a.t, as.Create(a.t.Context(), next))
	return next
}

// startsPod makes the pod of a Workflow's build, with the labels that the
// template gives it, on a node. No kubelet starts it, nor ends it when it is
// deleted.
func (a argoStandIn) startsPod(wf *wfv1.Workflow) *corev1.Pod {
	a.t.Helper()
	labels := maps.Clone(podLabels(a.t))
	labels[labelWorkflow] = wf.Name
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: wf.Namespace,
			Name:      wf.Name,
			Labels:    labels,
			// The node that runs in it, which node writes.
			Annotations: map[string]string{"workflows.argoproj.io/node-id": wf.Name},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: wfv1.SchemeGroupVersion.String(), Kind: "Workflow", Name: wf.Name, UID: wf.UID,
				Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: contract.StepMountCheck, Image: "registry.example.com/modelkiln:v0"}}},
	}
	require.NoError(a.t, a.client.Create(a.t.Context(), pod))
	return pod
}

// podLabels are those that the workflow template gives build pods.
func podLabels(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(kanikoTemplate + "/modelkiln-build.yaml")
	require.NoError(t, err)
	var template wfv1.ClusterWorkflowTemplate
	require.NoError(t, yaml.UnmarshalStrict(raw, &template))
	return template.Spec.PodMetadata.Labels
}

func argument(wf *wfv1.Workflow, name string) string {
	return arguments(wf)[name]
}

func arguments(wf *wfv1.Workflow) map[string]string {
	args := map[string]string{}
	for _, parameter := range wf.Spec.Arguments.Parameters {
		args[parameter.Name] = parameter.Value.String()
	}
	return args
}

// kubeletStandIn writes the events that a kubelet would.
type kubeletStandIn struct {
	t      *testing.T
	client client.Client
}

// cannotMount says of a pod, in kubelet's words, that its host path is not
// there.
func (k kubeletStandIn) cannotMount(pod *corev1.Pod, path string) {
	k.t.Helper()
	k.event(pod, "FailedMount", fmt.Sprintf(`MountVolume.SetUp failed for volume "source" : hostPath type check failed: %s is not a directory`, path))
}

func (k kubeletStandIn) event(pod *corev1.Pod, reason, message string) {
	k.t.Helper()
	require.NoError(k.t, k.client.Create(k.t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: pod.Namespace, GenerateName: pod.Name + "."},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Type:           corev1.EventTypeWarning, Reason: reason, Message: message,
		Source:         corev1.EventSource{Component: "kubelet", Host: "node-1"},
		FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(), Count: 1,
	}))
}

// waitsForPod says that the Workflow runs, and why its pod does not start.
func (a argoStandIn) waitsForPod(wf *wfv1.Workflow, why string) {
	a.t.Helper()
	a.write(wf, func(now *wfv1.Workflow) {
		a.phase(now, wfv1.WorkflowRunning, "")
		if now.Status.StartedAt.IsZero() {
			now.Status.StartedAt = metav1.Now()
		}
		node(now, "", wfv1.NodePending, why)
	})
}

// runs says that the pod's containers have started.
func (k kubeletStandIn) runs(pod *corev1.Pod) {
	k.t.Helper()
	before := pod.DeepCopy()
	pod.Status.Phase = corev1.PodRunning
	require.NoError(k.t, k.client.Status().Patch(k.t.Context(), pod, client.MergeFrom(before)))
}
