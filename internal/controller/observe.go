package controller

import (
	"context"
	"fmt"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/translate"
)

// Fields that the cache is indexed by.
const (
	indexOwner       = "controller-uid"
	indexEventObject = "involved-object-uid"
	indexModelName   = "model-name"
)

// labelWorkflow is Argo's label on the pods of a Workflow: its name.
const labelWorkflow = "workflows.argoproj.io/workflow"

// observe reads all that the next step depends on.
func (r *ModelVersionReconciler) observe(ctx context.Context, mv *v1alpha1.ModelVersion) (translate.Observed, error) {
	observed := translate.Observed{Version: mv}
	workflows, err := r.workflows(ctx, mv)
	if err != nil {
		return observed, err
	}
	observed.Workflows = workflows
	if observed.TemplateFound, err = r.templateFound(ctx, mv); err != nil {
		return observed, err
	}
	if current := translate.Followed(mv, workflows, r.Options); current != nil && !current.Status.Phase.Completed() {
		if observed.MissingHostPath, err = r.missingHostPath(ctx, current); err != nil {
			return observed, err
		}
	}
	return observed, nil
}

// workflows are those that the version controls and that are not being
// deleted. The one that the status names is looked up past the cache when the
// cache does not have it: a Workflow that was just made would otherwise pass
// for one that was deleted.
func (r *ModelVersionReconciler) workflows(ctx context.Context, mv *v1alpha1.ModelVersion) ([]*wfv1.Workflow, error) {
	var list wfv1.WorkflowList
	if err := r.Client.List(ctx, &list, client.InNamespace(mv.Namespace), client.MatchingFields{indexOwner: string(mv.UID)}); err != nil {
		return nil, fmt.Errorf("list Workflows: %w", err)
	}
	var workflows []*wfv1.Workflow
	seen := map[string]bool{}
	for i := range list.Items {
		seen[list.Items[i].Name] = true
		if list.Items[i].DeletionTimestamp.IsZero() {
			workflows = append(workflows, &list.Items[i])
		}
	}
	last := mv.Status.Workflow
	if last == nil || seen[last.Name] {
		return workflows, nil
	}
	var wf wfv1.Workflow
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: last.Name}, &wf)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("get Workflow %q: %w", last.Name, err)
	}
	if err == nil && wf.DeletionTimestamp.IsZero() && metav1.IsControlledBy(&wf, mv) {
		workflows = append(workflows, &wf)
	}
	return workflows, nil
}

func (r *ModelVersionReconciler) templateFound(ctx context.Context, mv *v1alpha1.ModelVersion) (bool, error) {
	template := templateMetadata()
	err := r.Client.Get(ctx, client.ObjectKey{Name: translate.TemplateName(mv, r.Options)}, template)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("get ClusterWorkflowTemplate: %w", err)
	}
	return err == nil, nil
}

// templateMetadata is a ClusterWorkflowTemplate of which only the metadata is
// read and cached.
func templateMetadata() *metav1.PartialObjectMetadata {
	template := &metav1.PartialObjectMetadata{}
	template.SetGroupVersionKind(wfv1.SchemeGroupVersion.WithKind("ClusterWorkflowTemplate"))
	return template
}

// missingHostPath is the Workflow's UID when kubelet says in an event on one
// of its pods that the host path is not there, and empty otherwise. The pod
// itself only waits, for ever, and so does the Workflow.
func (r *ModelVersionReconciler) missingHostPath(ctx context.Context, wf *wfv1.Workflow) (string, error) {
	// A retry deletes the pod that it replaces before it starts the Workflow
	// again. The cache may hear of that in the other order, and the word of
	// such a pod must not end the retry.
	for _, reader := range []client.Reader{r.Client, r.Live} {
		missing, err := r.podMissesHostPath(ctx, reader, wf)
		if err != nil || !missing {
			return "", err
		}
	}
	return string(wf.UID), nil
}

func (r *ModelVersionReconciler) podMissesHostPath(ctx context.Context, reader client.Reader, wf *wfv1.Workflow) (bool, error) {
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, client.InNamespace(wf.Namespace), client.MatchingLabels{labelWorkflow: wf.Name}); err != nil {
		return false, fmt.Errorf("list Pods of Workflow %q: %w", wf.Name, err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		// One that runs has found its folder since.
		if !metav1.IsControlledBy(pod, wf) || !pod.DeletionTimestamp.IsZero() || pod.Status.Phase != corev1.PodPending {
			continue
		}
		var list corev1.EventList
		if err := r.Client.List(ctx, &list, client.InNamespace(wf.Namespace), client.MatchingFields{indexEventObject: string(pod.UID)}); err != nil {
			return false, fmt.Errorf("list events of Pod %q: %w", pod.Name, err)
		}
		for j := range list.Items {
			if isMissingHostPath(&list.Items[j]) {
				return true, nil
			}
		}
	}
	return false, nil
}

// isMissingHostPath recognizes kubelet's words for a hostPath of type
// Directory that does not exist or is something else.
func isMissingHostPath(event *corev1.Event) bool {
	return event.Reason == "FailedMount" && strings.Contains(event.Message, "hostPath type check failed")
}
