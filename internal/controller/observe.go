package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// Fields that the cache is indexed by. An index whose values are unique costs more than
// half a kilobyte for each object.
const (
	indexOwner        = "controller-uid"
	indexEventObject  = "involved-object-uid"
	indexPodWorkflow  = "workflow"
	indexModelName    = "model-name"
	indexQueuedOf     = "model-name-of-queued"
	indexTrainedBy    = "trained-by"
	indexUID          = "uid"
	indexServedModel  = "served-model"
	indexAliasVersion = "alias-version"
)

// labelWorkflow is Argo's label on the pods of a Workflow: its name.
const labelWorkflow = "workflows.argoproj.io/workflow"

// annotationNode is Argo's annotation on a pod: the ID of the Workflow's node
// that it runs.
const annotationNode = "workflows.argoproj.io/node-id"

// observe reads what the next step depends on.
func (r *ModelVersionReconciler) observe(ctx context.Context, mv *v1alpha1.ModelVersion) (lifecycle.Observed, error) {
	observed := lifecycle.Observed{Version: mv, Now: r.Now()}
	argo := r.Argo()
	if argo == nil {
		installed, err := r.argoInstalled(ctx)
		if err == nil && installed {
			err = errors.New("the watch on Argo's kinds has not started yet")
		}
		observed.ArgoMissing = true
		return observed, err
	}
	var err error
	if observed.Workflows, observed.Invalid, err = r.workflows(ctx, argo, mv); err != nil {
		return observed, err
	}
	if lifecycle.IsFinal(mv, observed.Workflows) {
		return observed, nil
	}
	if observed.TemplateFound, observed.TemplateMarked, err = r.template(ctx, argo, mv); err != nil {
		return observed, err
	}
	if observed.Versions, err = r.reusedVersions(ctx, mv, observed.Workflows); err != nil {
		return observed, err
	}
	observed.Followed = lifecycle.SelectWorkflow(observed, r.Options)
	switch {
	case observed.Followed == nil:
		return observed, nil
	case observed.Followed.Status.Phase.Completed():
		observed.Bases, err = r.baseVersions(ctx, mv)
	default:
		err = r.observePods(ctx, &observed)
	}
	return observed, err
}

// baseVersions returns the ModelVersions from which one was trained, as far as they exist.
func (r *ModelVersionReconciler) baseVersions(ctx context.Context, mv *v1alpha1.ModelVersion) ([]v1alpha1.ModelVersion, error) {
	var bases []v1alpha1.ModelVersion
	for _, name := range lifecycle.BaseVersions(mv) {
		var base v1alpha1.ModelVersion
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: name}, &base)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get ModelVersion %q: %w", name, err)
		}
		if err == nil {
			bases = append(bases, base)
		}
	}
	return bases, nil
}

// observePods reads why the pod of the followed Workflow does not start, if it does
// not.
func (r *ModelVersionReconciler) observePods(ctx context.Context, observed *lifecycle.Observed) error {
	pods, terminating, err := podsOf(ctx, r.Client, observed.Followed, cachedPods)
	if err != nil {
		return err
	}
	observed.TerminatingPod = terminating
	observed.PodMissing = terminating == "" && !slices.ContainsFunc(pods, func(pod corev1.Pod) bool { return !hasEnded(&pod) })
	observed.StartedPods, observed.QueuedPods = startedPods(pods), queuedPods(pods)
	if lifecycle.HidesNodes(observed.Followed) {
		showPendingPods(observed.Followed, pods)
	}
	if observed.MountFailure, err = r.mountFailure(ctx, observed.Followed); err != nil {
		return err
	}
	if claim := lifecycle.ContestedClaim(*observed); claim != "" {
		observed.ClaimUsers, err = r.claimUsers(ctx, observed.Followed, claim)
	}
	return err
}

// reusedVersions returns those ModelVersions of the same Model whose layers the builds of
// this one reuse: the latest and, where that matters, those whose images its Workflows
// name. They are shared with the cache: a Model may have thousands of others.
func (r *ModelVersionReconciler) reusedVersions(ctx context.Context, mv *v1alpha1.ModelVersion, workflows []*wfv1.Workflow) ([]v1alpha1.ModelVersion, error) {
	var versions []v1alpha1.ModelVersion
	latest, err := r.latest(ctx, mv)
	if err != nil {
		return nil, err
	}
	if latest != nil && latest.Spec.ModelName == mv.Spec.ModelName {
		versions = append(versions, *latest)
	}
	unknown := lifecycle.UnknownImages(mv, workflows, versions)
	if len(unknown) == 0 {
		return versions, nil
	}
	var list v1alpha1.ModelVersionList
	if err := r.Client.List(ctx, &list, client.InNamespace(mv.Namespace), client.MatchingFields{indexModelName: mv.Spec.ModelName}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ModelVersions: %w", err)
	}
	isNamed := func(other v1alpha1.ModelVersion) bool { return slices.Contains(unknown, lifecycle.BuiltImage(&other)) }
	return append(versions, slices.DeleteFunc(list.Items, func(other v1alpha1.ModelVersion) bool { return !isNamed(other) })...), nil
}

// latest returns the latest ModelVersion of the same Model, or nil when there is none.
func (r *ModelVersionReconciler) latest(ctx context.Context, mv *v1alpha1.ModelVersion) (*v1alpha1.ModelVersion, error) {
	var model v1alpha1.Model
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}, &model)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get Model %q: %w", mv.Spec.ModelName, err)
	}
	if model.Status.LatestVersion == nil {
		return nil, nil
	}
	var latest v1alpha1.ModelVersion
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: model.Status.LatestVersion.ModelVersion}, &latest)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get ModelVersion %q: %w", model.Status.LatestVersion.ModelVersion, err)
	}
	return &latest, nil
}

// template reports whether the ModelVersion's ClusterWorkflowTemplate exists, and
// whether ModelVersions may name it.
func (r *ModelVersionReconciler) template(ctx context.Context, argo client.Reader, mv *v1alpha1.ModelVersion) (found, marked bool, err error) {
	template := templateMetadata()
	err = argo.Get(ctx, client.ObjectKey{Name: workflow.TemplateName(mv, r.Options)}, template)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, false, fmt.Errorf("get ClusterWorkflowTemplate: %w", err)
	}
	return err == nil, template.Labels[v1alpha1.LabelBuildTemplate] == "true", nil
}

// templateMetadata returns a ClusterWorkflowTemplate of which only the metadata
// is read and cached.
func templateMetadata() *metav1.PartialObjectMetadata {
	template := &metav1.PartialObjectMetadata{}
	template.SetGroupVersionKind(wfv1.SchemeGroupVersion.WithKind("ClusterWorkflowTemplate"))
	return template
}

// startedPods returns the IDs of the Workflow's nodes whose pods are no longer
// pending.
func startedPods(pods []corev1.Pod) []string {
	var nodes []string
	for i := range pods {
		if pods[i].Status.Phase != corev1.PodPending {
			nodes = append(nodes, pods[i].Annotations[annotationNode])
		}
	}
	return nodes
}

// showPendingPods adds nodes for the pending pods of a Workflow that hides its nodes, as
// Argo would write them.
func showPendingPods(wf *wfv1.Workflow, pods []corev1.Pod) {
	wf.Status.Nodes = wfv1.Nodes{}
	for i := range pods {
		if pod := &pods[i]; pod.Status.Phase == corev1.PodPending {
			id := pod.Annotations[annotationNode]
			wf.Status.Nodes[id] = wfv1.NodeStatus{ID: id, Type: wfv1.NodeTypePod, Phase: wfv1.NodePending, Message: pod.Status.Message, StartedAt: pod.CreationTimestamp}
		}
	}
}

// pendingMessage returns what keeps a pod from starting, in the form of Argo's
// getPendingReason, or an empty string.
func pendingMessage(pod *corev1.Pod) string {
	for _, c := range pod.Status.ContainerStatuses {
		if waits := c.State.Waiting; waits != nil {
			return strings.TrimSuffix(waits.Reason+": "+waits.Message, ": ")
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Reason == corev1.PodReasonUnschedulable {
			return strings.TrimSuffix(c.Reason+": "+c.Message, ": ")
		}
	}
	return ""
}

// queuedPods returns the pods that have scheduling gates.
func queuedPods(pods []corev1.Pod) []lifecycle.QueuedPod {
	var queued []lifecycle.QueuedPod
	for i := range pods {
		if len(pods[i].Spec.SchedulingGates) == 0 {
			continue
		}
		pod := lifecycle.QueuedPod{Node: pods[i].Annotations[annotationNode], Message: gatedMessage(&pods[i])}
		for _, gate := range pods[i].Spec.SchedulingGates {
			pod.Gates = append(pod.Gates, gate.Name)
		}
		queued = append(queued, pod)
	}
	return queued
}

// gatedMessage returns the message of the condition of a pod that has scheduling
// gates, or an empty string.
func gatedMessage(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			return c.Message
		}
	}
	return ""
}

// A podSelector selects the pods of the Workflow with this name.
type podSelector func(name string) client.ListOption

// cachedPods and livePods select pods in the cache, which has an index, and at the API
// server.
var (
	cachedPods podSelector = func(name string) client.ListOption { return client.MatchingFields{indexPodWorkflow: name} }
	livePods   podSelector = func(name string) client.ListOption { return client.MatchingLabels{labelWorkflow: name} }
)

// podsOf returns the pods of a Workflow that are not being deleted, and the name of one
// that is and has not ended, if any: the first in the order of names.
func podsOf(ctx context.Context, reader client.Reader, wf *wfv1.Workflow, selected podSelector) (pods []corev1.Pod, terminating string, err error) {
	var list corev1.PodList
	if err := reader.List(ctx, &list, client.InNamespace(wf.Namespace), selected(wf.Name)); err != nil {
		return nil, "", fmt.Errorf("list Pods of Workflow %q: %w", wf.Name, err)
	}
	for _, pod := range list.Items {
		switch {
		case !metav1.IsControlledBy(&pod, wf):
		case pod.DeletionTimestamp.IsZero():
			pods = append(pods, pod)
		case !hasEnded(&pod) && (terminating == "" || pod.Name < terminating):
			terminating = pod.Name
		}
	}
	return pods, terminating, nil
}

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// mountFailure returns what kubelet reports, in events on the Workflow's pods
// that have not started, about volumes that it cannot mount, or nil.
func (r *ModelVersionReconciler) mountFailure(ctx context.Context, wf *wfv1.Workflow) (*lifecycle.MountFailure, error) {
	// A retry deletes the pod that it replaces before it starts the Workflow
	// again. The cache may see that in the other order, and the events of such a
	// pod must not end the retry. So what the cache has is checked past it.
	messages, err := r.mountMessages(ctx, r.Client, wf, cachedPods)
	if err == nil && len(messages) > 0 {
		messages, err = r.mountMessages(ctx, r.Live, wf, livePods)
	}
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	return &lifecycle.MountFailure{WorkflowUID: string(wf.UID), Messages: messages}, nil
}

// maxPodEvents is how many events of one kind on one pod are read. Kubelet has one for
// each volume, and counts how often it occurs; users can create any number.
const maxPodEvents = 100

// mountMessages returns the messages of FailedMount and FailedAttachVolume events on
// the Workflow's pending pods, the newest last.
func (r *ModelVersionReconciler) mountMessages(ctx context.Context, reader client.Reader, wf *wfv1.Workflow, selected podSelector) ([]string, error) {
	pods, _, err := podsOf(ctx, reader, wf, selected)
	if err != nil {
		return nil, err
	}
	var failures []corev1.Event
	for i := range pods {
		pod := &pods[i]
		// The volumes of a pod that runs are mounted by now.
		if pod.Status.Phase != corev1.PodPending {
			continue
		}
		for _, events := range []client.Reader{r.Client, r.Attach} {
			var list corev1.EventList
			if err := events.List(ctx, &list, client.InNamespace(wf.Namespace), client.MatchingFields{indexEventObject: string(pod.UID)}, client.Limit(maxPodEvents)); err != nil {
				return nil, fmt.Errorf("list events of Pod %q: %w", pod.Name, err)
			}
			failures = append(failures, list.Items...)
		}
	}
	slices.SortFunc(failures, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	var messages []string
	for i := range failures {
		messages = append(messages, failures[i].Message)
	}
	return messages, nil
}
