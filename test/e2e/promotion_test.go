//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// promote changes the alias production, with its tag, with the commands in the
// documentation, and returns its status when the tag has been moved.
func (c *cluster) promote(t *testing.T, mv *v1alpha1.ModelVersion) v1alpha1.AliasStatus {
	t.Helper()
	ns, model := mv.Namespace, mv.Spec.ModelName
	run(t, "kubectl", "patch", "mo", model, "-n", ns, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"aliases":[{"name":"production","version":%q,"tag":true}]}}`, mv.Name))
	run(t, "kubectl", "wait", "mo/"+model, "-n", ns, `--for=jsonpath={.status.aliases[?(@.name=="production")].version}=`+mv.Name, "--timeout=30s")
	var alias v1alpha1.AliasStatus
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var m v1alpha1.Model
		require.NoError(collect, c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: model}, &m))
		require.Len(collect, m.Status.Aliases, 1)
		alias = m.Status.Aliases[0]
		require.NotNil(collect, alias.Tag)
		assert.Equal(collect, mv.Status.Digest, alias.Tag.Digest, "%s: %s", alias.Reason, alias.Message)
	}, buildTime, tick)
	assert.True(t, strings.HasSuffix(alias.Image, ":production"), alias.Image)
	assert.Equal(t, mv.Status.Digest, strings.TrimSpace(run(t, "crane", "digest", "--insecure", alias.Image)))
	return alias
}

// awaitPods waits until an alias counts so many pods.
func (c *cluster) awaitPods(t *testing.T, mv *v1alpha1.ModelVersion, want v1alpha1.AliasPods) {
	t.Helper()
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var m v1alpha1.Model
		require.NoError(collect, c.Get(t.Context(), client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}, &m))
		require.Len(collect, m.Status.Aliases, 1)
		assert.Equal(collect, &want, m.Status.Aliases[0].Pods)
	}, noticeTime, tick)
}

func TestPromotion(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	first, second := model(t), model(t)
	second.write(t, "config.json", `{"layers": 3}`)
	old := live.built(t, makeVersion("resnet-1", ns, first).Model("resnet").New())
	next := live.built(t, makeVersion("resnet-2", ns, second).Model("resnet").New())

	production := server(ns, "production", v1alpha1.LabelServeModel, "resnet")
	production.Spec.Template.Labels[v1alpha1.LabelServeAlias] = "production"
	live.create(t, production)
	live.awaitRejected(t, production, `Model "resnet" has no alias "production"`)
	live.promote(t, old)
	run(t, "kubectl", "rollout", "restart", "deployment/production", "-n", ns)
	live.allServe(t, production, 1, old)
	live.awaitPods(t, old, v1alpha1.AliasPods{Current: 1})
	assert.Equal(t, sumsOf(t, first), live.sumsIn(t, live.servingPod(t, production, old)))

	_, err := try(t.Context(), "kubectl", "delete", "mv", old.Name, "-n", ns)
	require.ErrorContains(t, err, "ModelVersion resnet-1 is in use: alias production of Model resnet stands for it")

	live.promote(t, next)
	live.awaitPods(t, next, v1alpha1.AliasPods{Behind: 1})
	run(t, "kubectl", "scale", "deployment/production", "-n", ns, "--replicas=2")
	live.allServe(t, production, 2, old)
	run(t, "kubectl", "rollout", "restart", "deployment/production", "-n", ns)
	live.allServe(t, production, 2, next)
	live.awaitPods(t, next, v1alpha1.AliasPods{Current: 2})
	assert.Equal(t, sumsOf(t, second), live.sumsIn(t, live.servingPod(t, production, next)))

	// Rollback.
	before := run(t, "kubectl", "get", "mo", "resnet", "-n", ns, "-o", `jsonpath={.status.aliases[?(@.name=="production")].history[0].version}`)
	require.Equal(t, old.Name, before)
	alias := live.promote(t, old)
	require.Len(t, alias.History, 2)
	assert.Equal(t, [2]string{next.Name, old.Name}, [2]string{alias.History[0].Version, alias.History[1].Version})
	assert.NotEmpty(t, alias.By)
	run(t, "kubectl", "rollout", "undo", "deployment/production", "-n", ns)
	live.allServe(t, production, 2, old)
	live.awaitPods(t, old, v1alpha1.AliasPods{Current: 2})

	// Only the Workflow of the last promotion is left.
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		names := strings.Fields(run(t, "kubectl", "get", "wf", "-n", ns, "-l", v1alpha1.LabelAlias, "-o", "name"))
		assert.Equal(collect, []string{"workflow.argoproj.io/" + alias.Tag.Workflow}, names)
	}, noticeTime, tick)

	run(t, "kubectl", "annotate", "mv", next.Name, "-n", ns, v1alpha1.AnnotationForceDelete+"=true")
	run(t, "kubectl", "delete", "mv", next.Name, "-n", ns)
}

// A tag with another image is left alone, and the message has the command.
func TestPromotionTagTaken(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	live.built(t, makeVersion("resnet-1", ns, model(t)).Model("resnet").New())
	repository := live.registry + "/e2e/" + ns
	run(t, "crane", "copy", "--insecure", live.registry+"/library/busybox:1.37", repository+":production")
	taken := run(t, "crane", "digest", "--insecure", repository+":production")
	run(t, "kubectl", "patch", "mo", "resnet", "-n", ns, "--type=merge", "-p", `{"spec":{"aliases":[{"name":"production","version":"resnet-1","tag":true}]}}`)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var m v1alpha1.Model
		require.NoError(collect, live.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "resnet"}, &m))
		require.Len(collect, m.Status.Aliases, 1)
		assert.Equal(collect, [2]string{"resnet-1", v1alpha1.ReasonTagTaken}, [2]string{m.Status.Aliases[0].Version, m.Status.Aliases[0].Reason}, m.Status.Aliases[0].Message)
		assert.Contains(collect, m.Status.Aliases[0].Message, "To try again: argo retry -n "+ns)
	}, buildTime, tick)
	assert.Equal(t, taken, run(t, "crane", "digest", "--insecure", repository+":production"))
}
