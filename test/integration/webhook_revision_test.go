package integration

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// servedBy returns a pod that serves the Model resnet as its owner's controller
// creates it.
func servedBy(namespace string, kind schema.GroupVersionKind, owner client.Object, labels ...string) *corev1.Pod {
	pod := servingPod(namespace, map[string]string{v1alpha1.LabelServeModel: "resnet"})
	for i := 0; i < len(labels); i += 2 {
		pod.Labels[labels[i]] = labels[i+1]
	}
	apiVersion, name := kind.ToAPIVersionAndKind()
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: name, Name: owner.GetName(), UID: owner.GetUID(), Controller: ptr.To(true)}}
	return pod
}

var (
	replicaSetKind  = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
	statefulSetKind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	daemonSetKind   = appsv1.SchemeGroupVersion.WithKind("DaemonSet")
	jobKind         = batchv1.SchemeGroupVersion.WithKind("Job")
)

// assertServes creates a pod and checks which ModelVersion it serves.
func (s sandbox) assertServes(want string, pod *corev1.Pod) {
	s.t.Helper()
	require.NoError(s.t, s.client.Create(s.t.Context(), pod))
	assert.Equal(s.t, want, pod.Annotations[v1alpha1.AnnotationServedVersion])
}

// newLatest creates the next ModelVersion of resnet and completes its build.
func (s sandbox) newLatest(name string) *v1alpha1.ModelVersion {
	s.t.Helper()
	mv := s.completeBuild(s.startNamedBuild(name))
	s.awaitLatest("resnet", s.latestVersion(name))
	awaitNextSecond(s.t, mv)
	return mv
}

// newReplicaSet creates a ReplicaSet of a Deployment. Its controller does not run
// here.
func (s sandbox) newReplicaSet(deployment, hash string) *appsv1.ReplicaSet {
	s.t.Helper()
	set := workloads(s.namespace, deployment+"-"+hash, v1alpha1.LabelServeModel, "resnet")[0].(*appsv1.ReplicaSet)
	require.NoError(s.t, s.client.Create(s.t.Context(), set))
	s.deleteAfterTest(set)
	return set
}

// newTemplate creates the ControllerRevision of a StatefulSet's or DaemonSet's
// template.
func (s sandbox) newTemplate(kind schema.GroupVersionKind, owner client.Object, name string) {
	s.t.Helper()
	apiVersion, kindName := kind.ToAPIVersionAndKind()
	require.NoError(s.t, s.client.Create(s.t.Context(), &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.namespace, Name: name,
		OwnerReferences: []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kindName, Name: owner.GetName(), UID: owner.GetUID(), Controller: ptr.To(true)}},
	}, Data: runtime.RawExtension{Raw: []byte("{}")}}))
}

func TestWebhookServingRevisions(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	s.newLatest("v1")
	all := s.createWorkloads("server", v1alpha1.LabelServeModel, "resnet")
	stateful, daemons, job := all[1], all[2], all[3]
	first := s.newReplicaSet("web", "65d8")
	s.newTemplate(statefulSetKind, stateful, "server-7f9c")
	s.newTemplate(daemonSetKind, daemons, "server-86b4")
	const revision = appsv1.ControllerRevisionHashLabelKey
	pods := func() []*corev1.Pod {
		return []*corev1.Pod{
			servedBy(s.namespace, replicaSetKind, first, appsv1.DefaultDeploymentUniqueLabelKey, "65d8"),
			servedBy(s.namespace, statefulSetKind, stateful, revision, "server-7f9c"),
			servedBy(s.namespace, daemonSetKind, daemons, revision, "86b4"),
			servedBy(s.namespace, jobKind, job),
		}
	}
	for _, pod := range pods() {
		s.assertServes("v1", pod)
	}
	var records appsv1.ControllerRevisionList
	require.NoError(t, s.client.List(t.Context(), &records, client.InNamespace(s.namespace), client.MatchingLabels{v1alpha1.LabelServeModel: "resnet"}))
	assert.Len(t, records.Items, 4)

	// All of them are scaled, or lose a pod, when another version is the latest.
	s.newLatest("v2")
	for _, pod := range pods() {
		s.assertServes("v1", pod)
	}
	t.Run("the next revision serves the latest version, and the previous one its own", func(t *testing.T) {
		s := s.withT(t)
		s.newTemplate(statefulSetKind, stateful, "server-5b6d")
		s.newTemplate(daemonSetKind, daemons, "server-97c5")
		s.assertServes("v2", servedBy(s.namespace, replicaSetKind, s.newReplicaSet("web", "5b6d")))
		s.assertServes("v2", servedBy(s.namespace, statefulSetKind, stateful, revision, "server-5b6d"))
		s.assertServes("v2", servedBy(s.namespace, daemonSetKind, daemons, revision, "97c5"))
		// As after kubectl rollout undo.
		for _, pod := range pods() {
			s.assertServes("v1", pod)
		}
	})
	t.Run("a pod without a controller serves the latest version", func(t *testing.T) {
		s.withT(t).assertServes("v2", servingPod(s.namespace, map[string]string{v1alpha1.LabelServeModel: "resnet"}))
	})
	t.Run("a pod with annotations of another version gets its own", func(t *testing.T) {
		pod := pods()[0]
		pod.Annotations = map[string]string{v1alpha1.AnnotationServedVersion: "v2", v1alpha1.AnnotationServedImage: "registry.example.com/evil"}
		s.withT(t).assertServes("v1", pod)
		assert.Contains(t, pod.Annotations[v1alpha1.AnnotationServedImage], "@"+digest)
	})
	t.Run("a dry run records nothing", func(t *testing.T) {
		s := s.withT(t)
		pod := servedBy(s.namespace, replicaSetKind, s.newReplicaSet("dry", "1"))
		require.NoError(t, s.client.Create(t.Context(), pod.DeepCopy(), client.DryRunAll))
		s.newLatest("v3")
		s.assertServes("v3", pod)
	})
}

// The first pods of a ReplicaSet are created at the same time, by one controller,
// and are sent to several replicas of the operator.
func TestWebhookServingRevisionsConcurrently(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	s.newLatest("v1")
	for i := range 5 {
		set := s.newReplicaSet("web", fmt.Sprint(i))
		wf := s.startNamedBuild(fmt.Sprintf("next-%d", i))
		pods := make([]*corev1.Pod, 10)
		var all sync.WaitGroup
		for j := range pods {
			pods[j] = servedBy(s.namespace, replicaSetKind, set)
			all.Go(func() { assert.NoError(t, s.client.Create(t.Context(), pods[j])) })
		}
		s.completeBuild(wf)
		all.Wait()
		s.awaitLatest("resnet", s.latestVersion(fmt.Sprintf("next-%d", i)))
		for _, pod := range append(pods, servedBy(s.namespace, replicaSetKind, set)) {
			if pod.UID == "" {
				require.NoError(t, s.client.Create(t.Context(), pod))
			}
			assert.Equal(t, pods[0].Annotations[v1alpha1.AnnotationServedImage], pod.Annotations[v1alpha1.AnnotationServedImage])
			assert.Equal(t, pods[0].Annotations[v1alpha1.AnnotationServedVersion], pod.Annotations[v1alpha1.AnnotationServedVersion])
		}
		awaitNextSecond(t, s.version(fmt.Sprintf("next-%d", i)))
	}
}

// A pod never gets another version silently.
func TestWebhookServingRevisionsRejected(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	v1 := s.newLatest("v1")
	stateful := s.createWorkloads("server", v1alpha1.LabelServeModel, "resnet")[1]
	s.newTemplate(statefulSetKind, stateful, "server-7f9c")
	set := s.newReplicaSet("web", "65d8")
	ofSet := servedBy(s.namespace, replicaSetKind, set, appsv1.DefaultDeploymentUniqueLabelKey, "65d8")
	ofStateful := servedBy(s.namespace, statefulSetKind, stateful, appsv1.ControllerRevisionHashLabelKey, "server-7f9c")
	s.assertServes("v1", ofSet.DeepCopy())
	s.assertServes("v1", ofStateful.DeepCopy())
	s.newLatest("v2")

	before := v1.DeepCopy()
	v1.Status.Digest = "sha256:" + strings.Repeat("0", 64)
	require.NoError(t, s.client.Status().Patch(t.Context(), v1, client.MergeFrom(before)))
	s.assertPodRejected(t, ofSet.DeepCopy(), `ModelVersion "v1" does not have the image `+digest+` any more`, "kubectl rollout restart -n "+s.namespace+" deployment/web")

	s.annotate("v1", v1alpha1.AnnotationForceDelete, "true")
	require.NoError(t, s.client.Delete(t.Context(), v1))
	s.assertPodRejected(t, ofSet.DeepCopy(), `ModelVersion "v1" was deleted`, "the pods of ReplicaSet web-65d8 serve it since the first one", `To serve the latest version of Model "resnet": kubectl rollout restart -n `+s.namespace+" deployment/web")
	s.assertPodRejected(t, ofStateful.DeepCopy(), `ModelVersion "v1" was deleted`, "kubectl rollout restart -n "+s.namespace+" statefulset/server")
	s.assertServes("v2", servedBy(s.namespace, replicaSetKind, s.newReplicaSet("web", "5b6d")))
}

// The pods of other controllers may belong to any template.
func TestWebhookServingOtherControllers(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	s.newLatest("v1")
	warned, warnings := clientWithWarnings(t)
	cluster := &unstructured.Unstructured{}
	cluster.SetName("cluster")
	cluster.SetUID("2f1c2b56-4ac7-4e2f-8f2e-6a9d51f9d1f0")
	kind := schema.GroupVersionKind{Group: "ray.io", Version: "v1", Kind: "RayCluster"}

	pod := servedBy(s.namespace, kind, cluster)
	require.NoError(t, warned.Create(t.Context(), pod))
	assert.Equal(t, "v1", pod.Annotations[v1alpha1.AnnotationServedVersion])
	require.Len(t, warnings.all, 1)
	assert.Contains(t, warnings.all[0], "Pods of RayCluster cluster can serve different versions of the Model")
	assert.LessOrEqual(t, len(warnings.all[0]), 256, "the API server cuts longer ones")
}

// clientWithWarnings returns a client, and where it collects the API server's
// warnings.
func clientWithWarnings(t *testing.T) (client.Client, *recordedWarnings) {
	t.Helper()
	warnings := &recordedWarnings{}
	config := rest.CopyConfig(shared.config)
	config.WarningHandler = warnings
	c, err := client.New(config, client.Options{Scheme: testScheme()})
	require.NoError(t, err)
	return c, warnings
}

// recordedWarnings collects the warnings of the API server.
type recordedWarnings struct{ all []string }

func (w *recordedWarnings) HandleWarningHeader(_ int, _, text string) { w.all = append(w.all, text) }
