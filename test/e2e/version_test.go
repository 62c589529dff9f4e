//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// makeVersion returns a ModelVersion over a directory on the node, which is
// pushed to a repository for its namespace.
func makeVersion(name, namespace string, from directory) *builders.ModelVersionWrapper {
	return builders.MakeModelVersion(name, namespace).ImageRepo("e2e/"+namespace).LocalStorage(string(from), nodeName)
}

// refresh gets the ModelVersion again.
func (c *cluster) refresh(t *testing.T, mv *v1alpha1.ModelVersion) *v1alpha1.ModelVersion {
	t.Helper()
	now := &v1alpha1.ModelVersion{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(mv), now))
	return now
}

// built creates a ModelVersion and returns it when it is Ready.
func (c *cluster) built(t *testing.T, mv *v1alpha1.ModelVersion) *v1alpha1.ModelVersion {
	t.Helper()
	c.create(t, mv)
	return c.ready(t, mv)
}

// ready returns the ModelVersion when it is Ready. It fails as soon as the
// ModelVersion does.
func (c *cluster) ready(t *testing.T, mv *v1alpha1.ModelVersion) *v1alpha1.ModelVersion {
	t.Helper()
	now := c.settled(t, mv, func(*v1alpha1.ModelVersion) bool { return true })
	return requireReady(t, now)
}

// readyAgain returns the ModelVersion when another attempt than that of before
// has made it Ready.
func (c *cluster) readyAgain(t *testing.T, before *v1alpha1.ModelVersion) *v1alpha1.ModelVersion {
	t.Helper()
	now := c.settled(t, before, func(now *v1alpha1.ModelVersion) bool {
		return now.Status.Workflow.Name != before.Status.Workflow.Name || !now.Status.StartTime.Equal(before.Status.StartTime)
	})
	return requireReady(t, now)
}

func requireReady(t *testing.T, mv *v1alpha1.ModelVersion) *v1alpha1.ModelVersion {
	t.Helper()
	ready := conditionReady(mv)
	require.Equal(t, metav1.ConditionTrue, ready.Status, "%s: %s", ready.Reason, ready.Message)
	assert.Equal(t, v1alpha1.ImageBuildSucceeded, mv.Status.ImageBuildPhase)
	return mv
}

// failed creates a ModelVersion and returns it when it has failed, with the
// time from its creation until anyone could see that.
func (c *cluster) failed(t *testing.T, mv *v1alpha1.ModelVersion) (*v1alpha1.ModelVersion, time.Duration) {
	t.Helper()
	began := time.Now()
	c.create(t, mv)
	now := c.settled(t, mv, func(*v1alpha1.ModelVersion) bool { return true })
	took := time.Since(began)
	ready := conditionReady(now)
	require.Equal(t, metav1.ConditionFalse, ready.Status, "%s: %s", ready.Reason, ready.Message)
	assert.Equal(t, v1alpha1.ImageBuildFailed, now.Status.ImageBuildPhase)
	return now, took
}

// settled returns the ModelVersion when it is Ready or stalled, and when that
// is news to the caller.
func (c *cluster) settled(t *testing.T, mv *v1alpha1.ModelVersion, news func(*v1alpha1.ModelVersion) bool) *v1alpha1.ModelVersion {
	t.Helper()
	now := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		require.NoError(collect, c.Get(t.Context(), client.ObjectKeyFromObject(mv), now))
		conditions := now.Status.Conditions
		settled := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) || meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled)
		require.True(collect, settled && news(now), "the ModelVersion still reports: %s", now.Status.Message)
	}, buildTime, tick)
	return now
}

// conditionReady returns the ModelVersion's Ready condition, or an empty one.
func conditionReady(mv *v1alpha1.ModelVersion) metav1.Condition {
	if found := meta.FindStatusCondition(mv.Status.Conditions, v1alpha1.ConditionReady); found != nil {
		return *found
	}
	return metav1.Condition{}
}

// workflow returns the Workflow that the ModelVersion follows.
func (c *cluster) workflow(t *testing.T, mv *v1alpha1.ModelVersion) *wfv1.Workflow {
	t.Helper()
	require.NotNil(t, mv.Status.Workflow, "the ModelVersion has no Workflow")
	wf := &wfv1.Workflow{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: mv.Namespace, Name: mv.Status.Workflow.Name}, wf))
	return wf
}

// workflowsOf returns the names of the Workflows that build a ModelVersion.
func (c *cluster) workflowsOf(t *testing.T, mv *v1alpha1.ModelVersion) []string {
	t.Helper()
	var list wfv1.WorkflowList
	require.NoError(t, c.List(t.Context(), &list, client.InNamespace(mv.Namespace), client.MatchingLabels{v1alpha1.LabelModelVersionUID: string(mv.UID)}))
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// running returns the ModelVersion when its build runs on the node.
func (c *cluster) running(t *testing.T, mv *v1alpha1.ModelVersion) *v1alpha1.ModelVersion {
	t.Helper()
	now := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		require.NoError(collect, c.Get(t.Context(), client.ObjectKeyFromObject(mv), now))
		require.NotNil(collect, now.Status.Workflow)
		require.Equal(collect, string(wfv1.WorkflowRunning), now.Status.Workflow.Phase)
		pods, err := c.podsOf(t.Context(), mv.Namespace, now.Status.Workflow.Name)
		require.NoError(collect, err)
		require.Len(collect, pods, 1)
		require.Equal(collect, corev1.PodRunning, pods[0].Status.Phase)
	}, buildTime, tick)
	return now
}

// podsOf returns the pods of a Workflow.
func (c *cluster) podsOf(ctx context.Context, namespace, workflow string) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := c.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{workflowLabel: workflow})
	return pods.Items, err
}

// latest waits until the Model names this ModelVersion as its latest.
func (c *cluster) latest(t *testing.T, mv *v1alpha1.ModelVersion) {
	t.Helper()
	want := &v1alpha1.LatestVersion{ModelVersion: mv.Name, ImageName: mv.Status.Image, Digest: mv.Status.Digest}
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var model v1alpha1.Model
		require.NoError(collect, c.Get(t.Context(), client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}, &model))
		require.Equal(collect, want, model.Status.LatestVersion)
	}, noticeTime, tick)
}

// assertImage checks that the ModelVersion's image holds exactly the files of
// the directory, and that the status has its digest.
func assertImage(t *testing.T, mv *v1alpha1.ModelVersion, from directory) content.Image {
	t.Helper()
	img := content.OfImage(t, mv.Status.Image)
	assert.Equal(t, from.entries(t), img.Model, "the files of %s", mv.Status.Image)
	assert.Equal(t, img.Digest, mv.Status.Digest, "the digests of the registry and the status")
	return img
}
