package integration

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// The configuration annotates the service account. What others have set is kept, and
// what is removed from the configuration is removed from it.
func TestServiceAccountAnnotations(t *testing.T) {
	annotated := func(annotations map[string]string) func(*settings) {
		return withConfig(func(c *config.Config) { c.BuildPods.ServiceAccountAnnotations = annotations })
	}
	op := startOperator(t, shared, annotated(map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/models"}))
	s := newSandbox(t, shared)
	require.NoError(t, s.client.Create(t.Context(), &corev1.ServiceAccount{
		ObjectMeta:       metav1.ObjectMeta{Namespace: s.namespace, Name: contract.BuildServiceAccount, Annotations: map[string]string{"example.com/note": "ours"}},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "mirror"}},
	}))
	s.create(localVersion)
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
	var account corev1.ServiceAccount
	s.get(t, contract.BuildServiceAccount, &account)
	assert.Equal(t, map[string]string{"example.com/note": "ours", "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/models"}, account.Annotations)
	assert.Equal(t, []corev1.LocalObjectReference{{Name: "mirror"}}, account.ImagePullSecrets)
	op.stop()

	startOperator(t, shared)
	s.create(localVersion, set("metadata.name", "resnet-2"))
	s.awaitReason("resnet-2", v1alpha1.ReasonWorkflowPending)
	account = corev1.ServiceAccount{}
	s.get(t, contract.BuildServiceAccount, &account)
	assert.Equal(t, map[string]string{"example.com/note": "ours"}, account.Annotations)
	assert.Equal(t, []corev1.LocalObjectReference{{Name: "mirror"}}, account.ImagePullSecrets)
}

func TestBuildPodsConfiguration(t *testing.T) {
	startOperator(t, shared, withConfig(func(c *config.Config) {
		c.BuildPods = config.BuildPods{
			Labels:           map[string]string{"team": "vision"},
			Env:              map[string]string{"HTTPS_PROXY": "http://proxy.example.com:3128", "NO_PROXY": ".svc"},
			ImagePullSecrets: []string{"mirror"},
		}
	}))
	_, wf := startBuild(t)
	assert.Equal(t, "team=vision", argument(wf, contract.ParamPodLabels))
	assert.Equal(t, "HTTPS_PROXY=http://proxy.example.com:3128\nNO_PROXY=.svc", argument(wf, contract.ParamEnv))
	assert.Equal(t, "mirror", argument(wf, contract.ParamImagePullSecrets))
}

// Everything that pods and people use has the pull host, also for an image that was
// pushed before there was one; builds have the push host.
func TestPullHost(t *testing.T) {
	const push, pull = "registry.registry.svc.cluster.local:5000/modelhub/resnet", "localhost:30500/modelhub/resnet"
	withPullHost := func(host string) func(*settings) {
		return withConfig(func(c *config.Config) {
			c.Registries = []config.Registry{{Host: "registry.registry.svc.cluster.local:5000", PlainHTTP: true, PullHost: host}}
			// The API server of these tests has one template.
			c.Engine, c.StreamWorkflowTemplate = v1alpha1.Stream, contract.BuildTemplate
		})
	}
	s := newSandbox(t, shared)
	var tag string
	t.Run("is in what pods and people use", func(t *testing.T) {
		startWithWebhook(t, withPullHost("localhost:30500"))
		s := s.withT(t)
		s.create(localVersion, set("spec.imageRepo", push))
		wf := s.argo.awaitOnlyWorkflow()
		mv := s.completeBuild(wf)
		tag = ":v" + uidDigits(mv)[:5]
		assert.Equal(t, push+tag, argument(wf, contract.ParamImage))
		assert.Equal(t, pull+tag, mv.Status.Image)
		assert.Equal(t, push+tag, mv.Status.PushedImage)
		s.awaitLatest("resnet", &v1alpha1.LatestVersion{ModelVersion: resnet, ImageName: pull + tag, Digest: digest})
		s.awaitEvent("ModelVersion", v1alpha1.ReasonSucceeded, "Image "+pull+tag+" was pushed")
		for label, value := range map[string]string{v1alpha1.LabelServeVersion: resnet, v1alpha1.LabelServeModel: "resnet"} {
			pod := servingPod(s.namespace, map[string]string{label: value})
			require.NoError(t, s.client.Create(t.Context(), pod))
			assert.Equal(t, pull+"@"+digest, pod.Annotations[v1alpha1.AnnotationServedImage])
			assert.Equal(t, pull+"@"+digest, pod.Spec.Volumes[0].Image.Reference)
		}

		next := s.create(localVersion, set("metadata.name", "resnet-2", "spec.imageRepo", push))
		second := s.argo.awaitAttempt(next, 1)
		assert.Equal(t, push+"@"+digest, argument(second, contract.ParamPreviousImage))
		s.completeBuild(second)
	})

	t.Run("can be removed", func(t *testing.T) {
		startOperator(t, shared, withPullHost(""))
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			var mv v1alpha1.ModelVersion
			s.get(c, resnet, &mv)
			assert.Equal(c, push+tag, mv.Status.Image)
			assert.Empty(c, mv.Status.PushedImage)
			assert.Equal(c, digest, mv.Status.Digest)
		}, deadline, tick)
		latest := push + ":v" + uidDigits(s.version("resnet-2"))[:5]
		s.awaitLatest("resnet", &v1alpha1.LatestVersion{ModelVersion: "resnet-2", ImageName: latest, Digest: digest})
	})
}

// Argo expands the keys of some labels and annotations in the template. kubectl applies
// them with server-side apply, which records keys as paths.
func TestTemplateIsApplied(t *testing.T) {
	s := newSandbox(t, shared)
	var template unstructured.Unstructured
	raw, err := os.ReadFile("../../workflow-templates/kaniko/modelkiln-build.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(raw, &template))
	template.SetName("applied")
	for range 2 {
		applied := client.ApplyConfigurationFromUnstructured(template.DeepCopy())
		require.NoError(t, s.client.Apply(t.Context(), applied, client.FieldOwner("kubectl"), client.ForceOwnership))
	}
	s.deleteAfterTest(&template)
	var got wfv1.ClusterWorkflowTemplate
	require.NoError(t, s.client.Get(t.Context(), client.ObjectKey{Name: "applied"}, &got))
	assert.Len(t, got.Spec.Templates[0].Metadata.Labels, contract.MaxPodMetadata)
	assert.Len(t, got.Spec.Templates[0].Metadata.Annotations, contract.MaxPodMetadata)
}

// A quota that counts limits and requests admits a build's pod if the configuration sets
// them for every container, or if a LimitRange does, and says so otherwise.
func TestBuildPodWithinQuota(t *testing.T) {
	hard := corev1.ResourceList{
		corev1.ResourceLimitsCPU: resource.MustParse("8"), corev1.ResourceLimitsMemory: resource.MustParse("16Gi"),
		corev1.ResourceRequestsCPU: resource.MustParse("4"), corev1.ResourceRequestsMemory: resource.MustParse("8Gi"),
	}
	withQuota := func(t *testing.T) sandbox {
		t.Helper()
		s := newSandbox(t, shared)
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "compute"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
		require.NoError(t, s.client.Create(t.Context(), quota))
		// The quota controller, which does not run here, would write this.
		quota.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: corev1.ResourceList{}}
		for name := range hard {
			quota.Status.Used[name] = resource.MustParse("0")
		}
		require.NoError(t, s.client.Status().Update(t.Context(), quota))
		return s
	}
	create := func(s sandbox, golden string) error {
		return s.client.Create(s.t.Context(), buildPod(s.t, s.namespace, golden), client.DryRunAll)
	}

	t.Run("without settings", func(t *testing.T) {
		s := withQuota(t)
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.ErrorContains(c, create(s, "nfs"), "failed quota: compute: must specify limits.cpu for: build,init,main,mount-check,status-report,wait; limits.memory for: init,wait")
		}, deadline, tick)
	})
	t.Run("with settings", func(t *testing.T) {
		s := withQuota(t)
		require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, create(s, "build-pods")) }, deadline, tick)
	})
	t.Run("with the LimitRange that the message advises", func(t *testing.T) {
		s := withQuota(t)
		defaults := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("256Mi")}
		require.NoError(t, s.client.Create(t.Context(), &corev1.LimitRange{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "defaults"},
			Spec:       corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Default: defaults}}},
		}))
		require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, create(s, "nfs")) }, deadline, tick)
	})
}

// buildPod returns the pod that Argo creates for a build, from a golden file of
// test/argo, without its PriorityClass.
func buildPod(t *testing.T, namespace, golden string) *corev1.Pod {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(renderedPods, golden+".pod.yaml"))
	require.NoError(t, err)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "build-"}}
	require.NoError(t, yaml.UnmarshalStrict(raw, &pod.Spec))
	pod.Spec.PriorityClassName = ""
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			list[i].Image = cmp.Or(list[i].Image, "quay.io/argoproj/argoexec:v3.7.18")
		}
	}
	return pod
}
