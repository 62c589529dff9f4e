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
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Labels of Argo.
const (
	labelWorkflow        = "workflows.argoproj.io/workflow"
	labelPhase           = "workflows.argoproj.io/phase"
	labelCompleted       = "workflows.argoproj.io/completed"
	labelResubmittedFrom = "workflows.argoproj.io/resubmitted-from-workflow"
)

// digest is the digest of every image in fakeArgo's reports.
const digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

// fakeArgo writes into Workflows what Argo's controller and the argo command
// would write. No pod runs.
type fakeArgo struct {
	t         *testing.T
	client    client.Client
	namespace string
	// clock is by how much Argo's clock is ahead.
	clock time.Duration
}

func (a fakeArgo) now() metav1.Time { return metav1.NewTime(time.Now().Add(a.clock)) }

// workflows returns the Workflows of the namespace, by name.
func (a fakeArgo) workflows() []wfv1.Workflow {
	a.t.Helper()
	var list wfv1.WorkflowList
	require.NoError(a.t, a.client.List(a.t.Context(), &list, client.InNamespace(a.namespace)))
	return list.Items
}

// awaitWorkflow returns the Workflow of this name once it exists.
func (a fakeArgo) awaitWorkflow(name string) *wfv1.Workflow {
	a.t.Helper()
	wf := &wfv1.Workflow{}
	require.EventuallyWithT(a.t, func(c *assert.CollectT) {
		require.NoError(c, a.client.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: name}, wf))
	}, deadline, tick, "Workflow %s was not created", name)
	return wf
}

// awaitAttempt returns the Workflow of a ModelVersion's nth attempt once it
// exists.
func (a fakeArgo) awaitAttempt(mv *v1alpha1.ModelVersion, n int64) *wfv1.Workflow {
	a.t.Helper()
	return a.awaitWorkflow(workflow.Name(mv.Name, mv.UID, n))
}

// awaitOnlyWorkflow returns the namespace's only Workflow once it exists.
func (a fakeArgo) awaitOnlyWorkflow() *wfv1.Workflow {
	a.t.Helper()
	var list []wfv1.Workflow
	require.EventuallyWithT(a.t, func(c *assert.CollectT) {
		list = a.workflows()
		assert.NotEmpty(c, list)
	}, deadline, tick, "no Workflow was created")
	require.Len(a.t, list, 1)
	return &list[0]
}

// update changes a Workflow as Argo's controller does: its whole status at
// once. It reads the Workflow first, since the operator may have patched its
// spec.
func (a fakeArgo) update(wf *wfv1.Workflow, edit func(*wfv1.Workflow)) *wfv1.Workflow {
	a.t.Helper()
	now := &wfv1.Workflow{}
	require.NoError(a.t, a.client.Get(a.t.Context(), client.ObjectKeyFromObject(wf), now))
	before := now.DeepCopy()
	edit(now)
	require.NoError(a.t, a.client.Patch(a.t.Context(), now, client.MergeFrom(before)))
	return now
}

func (a fakeArgo) setPhase(now *wfv1.Workflow, phase wfv1.WorkflowPhase, message string) {
	now.Status.Phase, now.Status.Message = phase, message
	now.Labels[labelPhase] = string(phase)
	now.Labels[labelCompleted] = fmt.Sprint(phase.Completed())
	if phase.Completed() {
		now.Status.FinishedAt = a.now()
	}
}

// setNode sets the node of the build's pod or, with a step, of a container in
// it. The pod's node has the Workflow's own name, as with every entrypoint
// template that has no retry strategy.
func setNode(now *wfv1.Workflow, step string, phase wfv1.NodePhase, message string) {
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

// setPending writes that a Workflow waits for a mutex or a parallelism limit.
func (a fakeArgo) setPending(wf *wfv1.Workflow, message string) {
	a.t.Helper()
	a.update(wf, func(now *wfv1.Workflow) {
		now.Status.StartedAt = a.now()
		a.setPhase(now, wfv1.WorkflowPending, message)
	})
}

// setPodPending writes that the Workflow runs, and why its pod does not start.
func (a fakeArgo) setPodPending(wf *wfv1.Workflow, reason string) {
	a.t.Helper()
	a.update(wf, func(now *wfv1.Workflow) {
		a.setPhase(now, wfv1.WorkflowRunning, "")
		if now.Status.StartedAt.IsZero() {
			now.Status.StartedAt = a.now()
		}
		setNode(now, "", wfv1.NodePending, reason)
	})
}

// runStep writes that a step of a Workflow runs. The containers of later steps
// run too, and wait.
func (a fakeArgo) runStep(wf *wfv1.Workflow, step string) {
	a.t.Helper()
	a.update(wf, func(now *wfv1.Workflow) {
		if now.Status.StartedAt.IsZero() {
			now.Status.StartedAt = a.now()
		}
		a.setPhase(now, wfv1.WorkflowRunning, "")
		setNode(now, "", wfv1.NodeRunning, "")
		phase := wfv1.NodeSucceeded
		for _, each := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
			if each == step {
				phase = wfv1.NodeRunning
			}
			if existing := now.Status.Nodes[now.NodeID(now.Name+"."+each)]; existing.Phase != phase {
				setNode(now, each, phase, "")
			}
		}
	})
}

// completeStep writes that a step of a Workflow has succeeded.
func (a fakeArgo) completeStep(wf *wfv1.Workflow, step string) {
	a.t.Helper()
	a.update(wf, func(now *wfv1.Workflow) { setNode(now, step, wfv1.NodeSucceeded, "") })
}

// completeWorkflow finishes a Workflow with a valid report.
func (a fakeArgo) completeWorkflow(wf *wfv1.Workflow) *wfv1.Workflow {
	a.t.Helper()
	return a.finish(wf, wfv1.WorkflowSucceeded, "", goodReport(wf))
}

// failWorkflow finishes a Workflow with the report of a failed step.
func (a fakeArgo) failWorkflow(wf *wfv1.Workflow, step, reason, message string) *wfv1.Workflow {
	a.t.Helper()
	r := goodReport(wf)
	r.Image = nil
	r.Failure = &report.Failure{Step: step, Reason: reason, Message: message}
	return a.finish(wf, wfv1.WorkflowFailed, "Error (exit code 64): dependency failed", r)
}

func (a fakeArgo) finish(wf *wfv1.Workflow, phase wfv1.WorkflowPhase, message string, r report.Report) *wfv1.Workflow {
	a.t.Helper()
	raw, err := json.Marshal(r)
	require.NoError(a.t, err)
	return a.update(wf, func(now *wfv1.Workflow) {
		if now.Status.StartedAt.IsZero() {
			now.Status.StartedAt = a.now()
		}
		a.setPhase(now, phase, message)
		setNode(now, "", wfv1.NodePhase(phase), message)
		// An output of the pod, which the template exports globally.
		output := wfv1.Parameter{Name: contract.OutputReport, GlobalName: contract.OutputReport, Value: wfv1.AnyStringPtr(string(raw))}
		pod := now.Status.Nodes[now.Name]
		pod.Outputs = &wfv1.Outputs{Parameters: []wfv1.Parameter{output}}
		now.Status.Nodes[now.Name] = pod
		now.Status.Outputs = &wfv1.Outputs{Parameters: []wfv1.Parameter{{Name: contract.OutputReport, Value: output.Value}}}
	})
}

// finishWithoutReport finishes a Workflow whose steps wrote no report.
func (a fakeArgo) finishWithoutReport(wf *wfv1.Workflow, phase wfv1.WorkflowPhase, message string) {
	a.t.Helper()
	a.update(wf, func(now *wfv1.Workflow) {
		a.setPhase(now, phase, message)
		setNode(now, "", wfv1.NodePhase(phase), message)
	})
}

// goodReport returns the report of a Workflow that succeeded.
func goodReport(wf *wfv1.Workflow) report.Report {
	image := argument(wf, contract.ParamImage)
	return report.Report{
		Run:    report.Run{WorkflowUID: string(wf.UID), ModelVersionUID: argument(wf, contract.ParamModelVersionUID), Image: image},
		Source: &report.Source{Files: 3, Bytes: 50 << 20, Layers: 2},
		Build:  &report.Build{},
		Image:  &report.Image{Reference: image, Digest: digest, Bytes: 30 << 20, Layers: 3, PullSecret: contract.DefaultPushSecret},
	}
}

// retry does what argo retry does: it restarts the same Workflow and keeps its
// old outputs.
func (a fakeArgo) retry(wf *wfv1.Workflow) *wfv1.Workflow {
	a.t.Helper()
	return a.update(wf, func(now *wfv1.Workflow) {
		now.Spec.Shutdown = ""
		now.Status.StartedAt = a.secondAfter(now.Status.StartedAt)
		now.Status.FinishedAt = metav1.Time{}
		now.Status.Nodes = nil
		a.setPhase(now, wfv1.WorkflowRunning, "")
		delete(now.Labels, labelCompleted)
		setNode(now, "", wfv1.NodePending, "")
	})
}

// secondAfter returns Argo's time, or the next second if t is in the
// current one: time stamps count seconds, and no user retries that fast.
func (a fakeArgo) secondAfter(t metav1.Time) metav1.Time {
	now := a.now()
	if now.Unix() <= t.Unix() {
		return metav1.NewTime(t.Add(time.Second))
	}
	return now
}

// resubmit does what argo resubmit does: it creates a copy of the Workflow with
// the same labels, annotations and owners, and a new name.
func (a fakeArgo) resubmit(as client.Client, wf *wfv1.Workflow) *wfv1.Workflow {
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

// createPod creates the pod of a Workflow's build on a node, with the labels
// that the template sets, and with these changes. No kubelet starts it or completes
// its deletion.
func (a fakeArgo) createPod(wf *wfv1.Workflow, changes ...func(*corev1.Pod)) *corev1.Pod {
	a.t.Helper()
	labels := maps.Clone(podLabels(a.t))
	labels[labelWorkflow] = wf.Name
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: wf.Namespace,
			Name:      wf.Name,
			Labels:    labels,
			// The Workflow's node of this pod, which setNode writes.
			Annotations: map[string]string{"workflows.argoproj.io/node-id": wf.Name},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: wfv1.SchemeGroupVersion.String(), Kind: "Workflow", Name: wf.Name, UID: wf.UID,
				Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: contract.StepMountCheck, Image: "registry.example.com/modelkiln:v0"}}},
	}
	for _, change := range changes {
		change(pod)
	}
	require.NoError(a.t, a.client.Create(a.t.Context(), pod))
	return pod
}

// podLabels returns the labels that the workflow template sets on build pods.
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

// fakeKubelet writes the events and pod phases that a kubelet would write.
type fakeKubelet struct {
	t      *testing.T
	client client.Client
}

// failMount creates kubelet's event for a host path that does not exist: that of
// localVersion.
func (k fakeKubelet) failMount(pod *corev1.Pod) {
	k.t.Helper()
	k.createEvent(pod, "FailedMount", `MountVolume.SetUp failed for volume "source" : hostPath type check failed: /models/resnet/1 is not a directory`)
}

func (k fakeKubelet) createEvent(pod *corev1.Pod, reason, message string) {
	k.t.Helper()
	require.NoError(k.t, k.client.Create(k.t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: pod.Namespace, GenerateName: pod.Name + "."},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Type:           corev1.EventTypeWarning, Reason: reason, Message: message,
		Source:         corev1.EventSource{Component: "kubelet", Host: "node-1"},
		FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(), Count: 1,
	}))
}

// startPod writes that the pod's containers have started.
func (k fakeKubelet) startPod(pod *corev1.Pod) {
	k.t.Helper()
	before := pod.DeepCopy()
	pod.Status.Phase = corev1.PodRunning
	require.NoError(k.t, k.client.Status().Patch(k.t.Context(), pod, client.MergeFrom(before)))
}
