//go:build e2e

package e2e

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// These tests run alone, since they change what all builds depend on.

const argoNamespace, argoController = "argo", "workflow-controller"

func TestArgoControllerDown(t *testing.T) {
	ns := live.namespace(t)
	dir := newDirectory(t)
	dir.random(t, "weights.bin", 60<<20)
	under := makeVersion("under-way", ns, dir).Model("under-way").New()
	live.create(t, under)
	live.running(t, under)
	scale := func(ctx context.Context, replicas string) error {
		_, err := try(ctx, "kubectl", "scale", "deployment", argoController, "-n", argoNamespace, "--replicas="+replicas)
		return err
	}
	after(t, func(ctx context.Context) { assert.NoError(t, scale(ctx, "1")) })
	require.NoError(t, scale(t.Context(), "0"))
	run(t, "kubectl", "wait", "pod", "-n", argoNamespace, "-l", "app="+argoController, "--for=delete", "--timeout=1m")

	late := live.waits(t, makeVersion("late", ns, dir).Model("late").New(), v1alpha1.ReasonWorkflowPending)
	assert.Contains(t, late.Status.Message, "Argo")
	require.NoError(t, scale(t.Context(), "1"))

	under, late = live.ready(t, under), live.ready(t, late)
	for _, mv := range []*v1alpha1.ModelVersion{under, late} {
		assertImage(t, mv, dir)
		assert.Equal(t, int64(1), mv.Status.Attempts)
		assert.Len(t, live.workflowsOf(t, mv), 1)
	}
}

// Argo holds Workflows to the template as it was when they started, in its mode
// Secure, and reconciles only Workflows that are labelled with its instance ID, if
// it has one.
func TestArgoSettings(t *testing.T) {
	const id = "e2e"
	live.configureArgo(t, map[string]string{"workflowRestrictions": "templateReferencing: Secure\n", "instanceID": id})
	ns := live.namespace(t)
	dir := newDirectory(t)
	ignored := live.waits(t, makeVersion("ignored", ns, model(t)).Model("ignored").New(), v1alpha1.ReasonWorkflowPending)
	assert.Contains(t, ignored.Status.Message, "Argo")

	live.configureOperator(t, "argoInstanceID: "+id)

	failed, _ := live.failed(t, makeVersion("labelled", ns, dir).New())
	assertFailed(t, failed, v1alpha1.ReasonSourceEmpty, string(dir))
	dir.write(t, "model.bin", "weights")
	run(t, "argo", "retry", "--instanceid", id, "-n", ns, failed.Status.Workflow.Name)
	mv := live.readyAgain(t, failed)
	assertImage(t, mv, dir)
	again := live.finished(t, ns, resubmit(t, mv, "--instanceid", id))
	assert.Equal(t, wfv1.WorkflowSucceeded, again.Status.Phase, again.Status.Message)
	assert.Equal(t, mv.Status, live.refresh(t, mv).Status)
}

// configureArgo sets keys of Argo's configuration for the rest of the test.
func (c *cluster) configureArgo(t *testing.T, settings map[string]string) {
	t.Helper()
	const name = "workflow-controller-configmap"
	c.configure(t, client.ObjectKey{Namespace: argoNamespace, Name: name}, argoController, func(data map[string]string) { maps.Copy(data, settings) })
}

// configureOperator adds a line to the operator's configuration for the rest of
// the test.
func (c *cluster) configureOperator(t *testing.T, line string) {
	t.Helper()
	var all corev1.ConfigMapList
	require.NoError(t, c.List(t.Context(), &all, client.InNamespace(operatorNamespace)))
	for i := range all.Items {
		if strings.HasPrefix(all.Items[i].Name, "modelkiln-config-") {
			c.configure(t, client.ObjectKeyFromObject(&all.Items[i]), operator, func(data map[string]string) { data["config.yaml"] += "\n" + line + "\n" })
			return
		}
	}
	require.Fail(t, "the operator has no configuration")
}

// configure changes a ConfigMap and restarts the Deployment that reads it when
// it starts. It restores the ConfigMap after the test.
func (c *cluster) configure(t *testing.T, key client.ObjectKey, deployment string, change func(data map[string]string)) {
	t.Helper()
	before := &corev1.ConfigMap{}
	require.NoError(t, c.Get(t.Context(), key, before))
	changed := before.DeepCopy()
	change(changed.Data)
	apply := func(ctx context.Context, config *corev1.ConfigMap) error {
		config.ResourceVersion = ""
		if err := c.Update(ctx, config); err != nil {
			return err
		}
		// kubectl does not restart a Deployment twice in a second.
		restarted := func(ctx context.Context) (bool, error) {
			_, err := try(ctx, "kubectl", "rollout", "restart", "deployment", deployment, "-n", key.Namespace)
			return err == nil, nil
		}
		if err := wait.PollUntilContextTimeout(ctx, tick, noticeTime, true, restarted); err != nil {
			return err
		}
		if _, err := try(ctx, "kubectl", "rollout", "status", "deployment", deployment, "-n", key.Namespace, "--timeout=1m"); err != nil {
			return err
		}
		return c.awaitTerminated(ctx, key.Namespace)
	}
	after(t, func(ctx context.Context) { assert.NoError(t, apply(ctx, before)) })
	require.NoError(t, apply(t.Context(), changed))
}

// awaitTerminated waits until no pod of a namespace is being deleted: a replica of the
// operator may lead until then, with the settings from before a rollout.
func (c *cluster) awaitTerminated(ctx context.Context, namespace string) error {
	return wait.PollUntilContextTimeout(ctx, tick, time.Minute, true, func(ctx context.Context) (bool, error) {
		var pods corev1.PodList
		if err := c.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
			return false, err
		}
		return !slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool { return !pod.DeletionTimestamp.IsZero() }), nil
	})
}
