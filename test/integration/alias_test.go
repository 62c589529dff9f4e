package integration

import (
	"fmt"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// digestOf returns a digest that only the image of this ModelVersion has.
func digestOf(version string) string {
	return "sha256:" + strings.Repeat(fmt.Sprintf("%x", version[len(version)-1]), 32)
}

// newVersion creates a ModelVersion of resnet and completes its build with a digest of its
// own.
func (s sandbox) newVersion(name string) *v1alpha1.ModelVersion {
	s.t.Helper()
	wf := s.startNamedBuild(name)
	report := goodReport(wf)
	report.Image.Digest = digestOf(name)
	s.argo.finish(wf, wfv1.WorkflowSucceeded, "", report)
	return s.awaitReason(name, v1alpha1.ReasonSucceeded)
}

// setAliases replaces the aliases of the Model resnet, as a user.
func (s sandbox) setAliases(as client.Client, aliases ...v1alpha1.Alias) error {
	s.t.Helper()
	model := s.model("resnet")
	before := model.DeepCopy()
	model.Spec.Aliases = aliases
	return as.Patch(s.t.Context(), model, client.MergeFrom(before))
}

// promote points the alias production of the Model resnet to a ModelVersion.
func (s sandbox) promote(as client.Client, version string) {
	s.t.Helper()
	require.NoError(s.t, s.setAliases(as, v1alpha1.Alias{Name: "production", Version: version}))
}

// awaitAlias waits until the alias production is as expected, and returns it.
func (s sandbox) awaitAlias(check func(assert.TestingT, v1alpha1.AliasStatus)) v1alpha1.AliasStatus {
	s.t.Helper()
	var got v1alpha1.AliasStatus
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		m := &v1alpha1.Model{}
		s.get(c, "resnet", m)
		require.Len(c, m.Status.Aliases, 1)
		got = m.Status.Aliases[0]
		check(c, got)
	}, deadline, tick)
	return got
}

func (s sandbox) awaitAliasVersion(version string) v1alpha1.AliasStatus {
	s.t.Helper()
	return s.awaitAlias(func(t assert.TestingT, got v1alpha1.AliasStatus) {
		assert.Equal(t, [3]string{version, "", ""}, [3]string{got.Version, got.Reason, got.Message})
	})
}

func versionsOf(history []v1alpha1.AliasRecord) []string {
	var versions []string
	for _, record := range history {
		versions = append(versions, record.Version)
	}
	return versions
}

func TestAlias(t *testing.T) {
	startWithWebhook(t)
	ann, bob := userClient(t, "ann@example.com"), userClient(t, "bob@example.com")

	t.Run("is promoted and rolled back, by whom is recorded", func(t *testing.T) {
		s := newSandbox(t, shared)
		for _, name := range []string{"v1", "v2", "v3"} {
			s.newVersion(name)
		}
		for _, step := range []struct {
			by      client.Client
			version string
		}{{ann, "v1"}, {bob, "v2"}, {ann, "v3"}, {bob, "v2"}} {
			s.promote(step.by, step.version)
			s.awaitAliasVersion(step.version)
		}
		got := s.awaitAliasVersion("v2")
		assert.Equal(t, digestOf("v2"), got.Digest)
		assert.Equal(t, s.version("v2").Status.Image, got.Image)
		assert.Equal(t, "bob@example.com", got.By)
		assert.Equal(t, []string{"v3", "v2", "v1"}, versionsOf(got.History))
		last := got.History[0]
		assert.Equal(t, [2]string{digestOf("v3"), "ann@example.com"}, [2]string{last.Digest, last.By})
		assert.Equal(t, got.Since, last.To)
		assert.True(t, last.From.Before(last.To), "promotions are distinguished by their times")
	})
	t.Run("who promotes cannot be claimed", func(t *testing.T) {
		s := newSandbox(t, shared)
		s.newVersion("v1")
		annotate := func(as client.Client, user any, opts ...client.PatchOption) error {
			patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"promoted-by.model.kubedl.io/production":%s}}}`, user)
			return as.Patch(t.Context(), s.model("resnet"), client.RawPatch("application/merge-patch+json", patch), opts...)
		}
		s.promote(ann, "v1")
		s.awaitAliasVersion("v1")
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assertForbidden(c, annotate(bob, `"bob@example.com"`, client.DryRunAll), "name the users who promoted ModelVersions")
		}, deadline, tick, "the API server loads the policy after a moment")
		require.NoError(t, annotate(bob, "null"))
		assertForbidden(t, annotate(ann, `"ann@example.com"`), "name the users who promoted ModelVersions")
		assert.Equal(t, "ann@example.com", s.awaitAliasVersion("v1").By)
	})
	t.Run("stays where it was if its version cannot be resolved", func(t *testing.T) {
		s := newSandbox(t, shared)
		s.newVersion("v1")
		s.promote(ann, "v1")
		before := s.awaitAliasVersion("v1")
		s.promote(ann, "v2")
		unresolved := func(message string) func(assert.TestingT, v1alpha1.AliasStatus) {
			return func(t assert.TestingT, got v1alpha1.AliasStatus) {
				assert.Equal(t, [2]string{"v1", v1alpha1.ReasonAliasUnresolved}, [2]string{got.Version, got.Reason})
				assert.Contains(t, got.Message, message)
			}
		}
		s.awaitAlias(unresolved("ModelVersion v2 does not exist"))
		wf := s.startNamedBuild("v2")
		got := s.awaitAlias(unresolved("ModelVersion v2 is not Ready"))
		got.Reason, got.Message = "", ""
		assert.Equal(t, before, got)
		s.completeBuild(wf)
		s.awaitAliasVersion("v2")
	})
	t.Run("keeps a version that was deleted", func(t *testing.T) {
		s := newSandbox(t, shared)
		mv := s.newVersion("v1")
		s.promote(ann, "v1")
		s.awaitAliasVersion("v1")
		s.annotate("v1", v1alpha1.AnnotationForceDelete, "true")
		require.NoError(t, s.client.Delete(t.Context(), mv))
		got := s.awaitAlias(func(t assert.TestingT, got v1alpha1.AliasStatus) {
			assert.Contains(t, got.Message, "ModelVersion v1 does not exist")
		})
		assert.Equal(t, [2]string{"v1", digestOf("v1")}, [2]string{got.Version, got.Digest})
		s.assertPodRejected(t, servingPod(s.namespace, serves("production")), `ModelVersion "v1" was deleted`, `the alias "production" of Model "resnet" stands for it. Promote another one: kubectl edit mo -n `+s.namespace+" resnet")

		wf := s.startNamedBuild("v1")
		report := goodReport(wf)
		report.Image.Digest = digestOf("another model")
		s.argo.finish(wf, wfv1.WorkflowSucceeded, "", report)
		s.awaitReason("v1", v1alpha1.ReasonSucceeded)
		got = s.awaitAlias(func(t assert.TestingT, got v1alpha1.AliasStatus) {
			assert.Contains(t, got.Message, "ModelVersion v1 is not the one that was promoted, which was deleted")
		})
		assert.Equal(t, [3]string{"v1", digestOf("v1"), string(mv.UID)}, [3]string{got.Version, got.Digest, got.VersionUID})
		s.assertPodRejected(t, servingPod(s.namespace, serves("production")), `ModelVersion "v1" does not have the image`)
	})
	t.Run("is removed", func(t *testing.T) {
		s := newSandbox(t, shared)
		s.newVersion("v1")
		s.promote(ann, "v1")
		s.awaitAliasVersion("v1")
		require.NoError(t, s.setAliases(ann))
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			m := &v1alpha1.Model{}
			s.get(c, "resnet", m)
			assert.Empty(c, m.Status.Aliases)
		}, deadline, tick)
		assert.Empty(t, s.model("resnet").Annotations)
	})
}

// serves returns the labels of a pod that serves an alias of resnet.
func serves(alias string) map[string]string {
	return map[string]string{v1alpha1.LabelServeModel: "resnet", v1alpha1.LabelServeAlias: alias}
}

// servesAlias returns a pod of a ReplicaSet that serves the alias production.
func servesAlias(set *appsv1.ReplicaSet) *corev1.Pod {
	return servedBy(set.Namespace, replicaSetKind, set, v1alpha1.LabelServeAlias, "production", appsv1.DefaultDeploymentUniqueLabelKey, strings.TrimPrefix(set.Name, "web-"))
}

func TestAliasServing(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	s.newVersion("v1")
	mv := s.newVersion("v2")
	s.promote(s.client, "v1")
	s.awaitAliasVersion("v1")
	first := s.newReplicaSet("web", "65d8")
	for range 2 {
		s.assertServes("v1", servesAlias(first))
	}
	s.assertServes("v2", servingPod(s.namespace, map[string]string{v1alpha1.LabelServeModel: "resnet"}))
	count := func(current, behind int32) {
		t.Helper()
		s.awaitAlias(func(t assert.TestingT, got v1alpha1.AliasStatus) {
			assert.Equal(t, &v1alpha1.AliasPods{Current: current, Behind: behind}, got.Pods)
		})
	}
	count(2, 0)

	s.promote(s.client, "v2")
	s.awaitAliasVersion("v2")
	count(0, 2)
	// The ReplicaSet is scaled, or loses a pod.
	s.assertServes("v1", servesAlias(first))
	count(0, 3)
	next := servesAlias(s.newReplicaSet("web", "5b6d"))
	s.assertServes("v2", next)
	assert.Equal(t, string(mv.UID), next.Labels[v1alpha1.LabelServedVersionUID])
	assert.Contains(t, next.Annotations[v1alpha1.AnnotationServedImage], "@"+digestOf("v2"))
	count(1, 3)

	t.Run("a pod that has ended does not count", func(t *testing.T) {
		before := next.DeepCopy()
		next.Status.Phase = corev1.PodFailed
		require.NoError(t, s.client.Status().Patch(t.Context(), next, client.MergeFrom(before)))
		count(0, 3)
	})
	t.Run("the label cannot be changed", func(t *testing.T) {
		pod := servesAlias(first)
		s.assertServes("v1", pod)
		before := pod.DeepCopy()
		pod.Labels[v1alpha1.LabelServedVersionUID] = string(mv.UID)
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assertForbidden(c, s.client.Patch(t.Context(), pod.DeepCopy(), client.MergeFrom(before), client.DryRunAll), "name what the pod serves")
		}, deadline, tick, "the API server loads the policy after a moment")
	})
	for name, tt := range map[string]struct {
		labels map[string]string
		want   string
	}{
		"an alias that does not exist": {serves("canary"), `Model "resnet" has no alias "canary" (named by the pod's label model.kubedl.io/serve-alias): add it to spec.aliases with kubectl edit mo -n ` + s.namespace + " resnet"},
		"no name":                      {serves(""), "the pod's label model.kubedl.io/serve-alias is empty: set it to the name of a Model's alias"},
		"an alias without a Model":     {map[string]string{v1alpha1.LabelServeAlias: "production"}, "the label model.kubedl.io/serve-alias names an alias of the Model in the label model.kubedl.io/serve-model: add that label too"},
		"an alias and a version":       {map[string]string{v1alpha1.LabelServeAlias: "production", v1alpha1.LabelServeVersion: "v1"}, "the pod's label model.kubedl.io/serve-alias names an alias and no Model"},
	} {
		t.Run(name, func(t *testing.T) { s.assertPodRejected(t, servingPod(s.namespace, tt.labels), tt.want) })
	}
	t.Run("an alias that stands for nothing yet", func(t *testing.T) {
		require.NoError(t, s.setAliases(s.client, v1alpha1.Alias{Name: "production", Version: "v2"}, v1alpha1.Alias{Name: "canary", Version: "v9"}))
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			err := s.client.Create(t.Context(), servingPod(s.namespace, serves("canary")))
			assert.ErrorContains(c, err, `the alias "canary" of Model "resnet" (named by the pod's label model.kubedl.io/serve-alias) stands for no ModelVersion yet: ModelVersion v9 does not exist`)
		}, deadline, tick)
	})
}

func TestDeletionOfVersionInUse(t *testing.T) {
	startWithWebhook(t)
	force := func(s sandbox, name string) string {
		return fmt.Sprintf("To delete it nevertheless: kubectl annotate mv -n %s %s model.kubedl.io/force-delete=true, then delete it again", s.namespace, name)
	}
	t.Run("an alias stands for it", func(t *testing.T) {
		s := newSandbox(t, shared)
		mv := s.newVersion("v1")
		s.promote(s.client, "v1")
		s.awaitAliasVersion("v1")
		err := s.client.Delete(t.Context(), mv)
		assertForbidden(t, err, fmt.Sprintf("ModelVersion v1 is in use: alias production of Model resnet stands for it (kubectl edit mo -n %s resnet). %s", s.namespace, force(s, "v1")))
		assertForbidden(t, s.client.DeleteAllOf(t.Context(), &v1alpha1.ModelVersion{}, client.InNamespace(s.namespace)), "ModelVersion v1 is in use")
		s.newVersion("v2")
		s.promote(s.client, "v2")
		s.awaitAliasVersion("v2")
		assert.NoError(t, s.client.Delete(t.Context(), mv), "the history of an alias is no use")
	})
	t.Run("pods serve it", func(t *testing.T) {
		s := newSandbox(t, shared)
		mv := s.newVersion("v1")
		var pods []*corev1.Pod
		for i := range 5 {
			pod := servingPod(s.namespace, map[string]string{v1alpha1.LabelServeVersion: "v1"})
			pod.GenerateName, pod.Name = "", fmt.Sprintf("server-%d", i)
			require.NoError(t, s.client.Create(t.Context(), pod))
			pods = append(pods, pod)
		}
		remove := func(pods ...*corev1.Pod) {
			for _, pod := range pods {
				require.NoError(t, s.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))
			}
		}
		assertForbidden(t, s.client.Delete(t.Context(), mv), fmt.Sprintf("ModelVersion v1 is in use: pods server-0, server-1, server-2 and others serve it (kubectl get pods -n %s -l model.kubedl.io/served-version-uid=%s). ", s.namespace, mv.UID))
		remove(pods[2:]...)
		assertForbidden(t, s.client.Delete(t.Context(), mv), "pods server-0, server-1 serve it")
		remove(pods[0])
		assertForbidden(t, s.client.Delete(t.Context(), mv), "pod server-1 serves it")
		before := pods[1].DeepCopy()
		pods[1].Status.Phase = corev1.PodSucceeded
		require.NoError(t, s.client.Status().Patch(t.Context(), pods[1], client.MergeFrom(before)))
		assert.NoError(t, s.client.Delete(t.Context(), mv), "a pod that has ended serves nothing")
	})
	t.Run("it is forced", func(t *testing.T) {
		s := newSandbox(t, shared)
		mv := s.newVersion("v1")
		require.NoError(t, s.client.Create(t.Context(), servingPod(s.namespace, map[string]string{v1alpha1.LabelServeVersion: "v1"})))
		assertForbidden(t, s.client.Delete(t.Context(), mv), force(s, "v1"))
		s.annotate("v1", v1alpha1.AnnotationForceDelete, "false")
		assertForbidden(t, s.client.Delete(t.Context(), mv), force(s, "v1"))
		s.annotate("v1", v1alpha1.AnnotationForceDelete, "true")
		assert.NoError(t, s.client.Delete(t.Context(), mv))
	})
	t.Run("its Model is being deleted", func(t *testing.T) {
		s := newSandbox(t, shared)
		mv := s.newVersion("v1")
		s.promote(s.client, "v1")
		s.awaitAliasVersion("v1")
		model := s.model("resnet")
		model.Finalizers = []string{"example.com/wait"}
		require.NoError(t, s.client.Update(t.Context(), model))
		require.NoError(t, s.client.Delete(t.Context(), model))
		assert.NoError(t, s.client.Delete(t.Context(), mv))
		s.refresh(t, model)
		model.Finalizers = nil
		require.NoError(t, s.client.Update(t.Context(), model))
	})
	t.Run("its namespace is being deleted", func(t *testing.T) {
		s := newSandbox(t, shared)
		mv := s.newVersion("v1")
		require.NoError(t, s.client.Create(t.Context(), servingPod(s.namespace, map[string]string{v1alpha1.LabelServeVersion: "v1"})))
		require.NoError(t, s.client.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}))
		assert.NoError(t, s.client.Delete(t.Context(), mv))
	})
}

// Only promotions, and deletions by users, depend on the operator.
func TestAliasWebhooksUnavailable(t *testing.T) {
	op := startOperator(t, shared)
	s := newSandbox(t, shared)
	for _, name := range []string{"v1", "v2"} {
		s.newVersion(name)
	}
	op.stop()
	installWebhook(t, shared, freeAddress(t))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.ErrorContains(c, s.setAliases(s.client, v1alpha1.Alias{Name: "production", Version: "v1"}), "failed calling webhook")
		assert.ErrorContains(c, s.client.Delete(t.Context(), s.version("v1"), client.DryRunAll), "failed calling webhook")
	}, deadline, tick)
	model := s.model("resnet")
	before := model.DeepCopy()
	model.Spec.Description = ptr.To("the API server is asked for nothing else")
	require.NoError(t, s.client.Patch(t.Context(), model, client.MergeFrom(before)))
	s.annotate("v1", v1alpha1.AnnotationForceDelete, "true")
	require.NoError(t, s.client.Delete(t.Context(), s.version("v1")))
	for _, account := range []string{"namespace-controller", "generic-garbage-collector"} {
		assert.NoError(t, userClient(t, "system:serviceaccount:kube-system:"+account).Delete(t.Context(), s.version("v2"), client.DryRunAll))
	}
}

// The policy of the samples lets only a group change the alias production.
func TestAliasProductionPolicy(t *testing.T) {
	objects, err := readManifests("../../deploy/samples/production-policy.yaml")
	require.NoError(t, err)
	s := newSandbox(t, shared)
	for _, o := range objects {
		if o.GetKind() == "ValidatingAdmissionPolicyBinding" {
			// The API server applies it for a moment after it was deleted.
			require.NoError(t, unstructured.SetNestedStringMap(o.Object, map[string]string{corev1.LabelMetadataName: s.namespace}, "spec", "matchResources", "namespaceSelector", "matchLabels"))
		}
		require.NoError(t, s.client.Create(t.Context(), o))
		s.deleteAfterTest(o)
	}
	require.NoError(t, s.client.Create(t.Context(), newObject(t, s.namespace, "{apiVersion: model.kubedl.io/v1alpha1, kind: Model, metadata: {name: resnet}}")))
	release := userClient(t, "ann@example.com", "ml-release")
	production, canary := v1alpha1.Alias{Name: "production", Version: "v1"}, v1alpha1.Alias{Name: "canary", Version: "v1"}
	const forbidden = "only members of the group ml-release may change the alias production"
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assertForbidden(c, s.setAliases(s.client, production), forbidden)
		require.NoError(c, s.setAliases(release))
	}, deadline, tick, "the API server loads the policy after a moment")
	require.NoError(t, s.setAliases(release, production))
	require.NoError(t, s.setAliases(s.client, canary, production), "other aliases")
	assertForbidden(t, s.setAliases(s.client, canary), forbidden)
	production.Version = "v2"
	assertForbidden(t, s.setAliases(s.client, canary, production), forbidden)
	assert.NoError(t, s.setAliases(release, canary, production))
}

func TestAliasAdmission(t *testing.T) {
	s := newSandbox(t, shared)
	model := func(aliases ...any) client.Object {
		return newObject(t, s.namespace, "{apiVersion: model.kubedl.io/v1alpha1, kind: Model, metadata: {generateName: m-}}", set("spec.aliases", aliases))
	}
	alias := func(name, version string, tag bool) any {
		return map[string]any{"name": name, "version": version, "tag": tag}
	}
	var many []any
	for i := range 33 {
		many = append(many, alias(fmt.Sprintf("a%d", i), "v1", false))
	}
	for name, tt := range map[string]struct {
		aliases []any
		want    string
	}{
		"valid aliases":         {[]any{alias("production", "resnet-1", true), alias("v1c072", "resnet.2", false)}, ""},
		"the most aliases":      {many[:32], ""},
		"too many":              {many, "must have at most 32 items"},
		"the same name twice":   {[]any{alias("a", "v1", false), alias("a", "v2", false)}, "Duplicate value"},
		"a name in upper case":  {[]any{alias("Production", "v1", false)}, "the name of an alias consists of lower-case letters, digits and '-', for example production"},
		"a long name":           {[]any{alias(strings.Repeat("a", 64), "v1", false)}, "spec.aliases[0].name: Too long"},
		"a version with braces": {[]any{alias("a", "{{v1}}", false)}, "version is the name of a ModelVersion (kubectl get mv lists them)"},
		"no version":            {[]any{map[string]any{"name": "a"}}, "spec.aliases[0].version: Required value"},
		"an automatic tag":      {[]any{alias("v1c072", "v1", true)}, "an alias with tag: true must not have the name of an automatic tag"},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.client.Create(t.Context(), model(tt.aliases...), client.DryRunAll)
			if tt.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tt.want)
			}
		})
	}
}
