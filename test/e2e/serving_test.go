//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// A controller whose pods are rejected backs off up to a quarter of an hour.
// This test runs alone, so that it measures only that.
func TestServingWaitsForVersion(t *testing.T) {
	ns := live.namespace(t)
	dir := model(t)
	byVersion := server(ns, "by-version", v1alpha1.LabelServeVersion, "resnet-1")
	byModel := server(ns, "by-model", v1alpha1.LabelServeModel, "resnet")
	live.create(t, byVersion)
	live.create(t, byModel)
	live.awaitRejected(t, byVersion, `ModelVersion "resnet-1" not found in namespace `+ns)
	live.awaitRejected(t, byModel, `Model "resnet" not found in namespace `+ns)

	mv := makeVersion("resnet-1", ns, dir).Model("resnet").New()
	live.create(t, mv)
	live.awaitRejected(t, byVersion, "it is not built yet")
	mv = live.ready(t, mv)
	began := time.Now()
	pods := []*corev1.Pod{live.servingPod(t, byVersion, mv), live.servingPod(t, byModel, mv)}
	took := time.Since(began)
	t.Logf("figure: %.1f s from Ready to running, for two Deployments that waited", took.Seconds())
	assert.Less(t, took, 10*time.Second)

	for _, pod := range pods {
		owner := &appsv1.ReplicaSet{}
		require.NoError(t, live.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: pod.OwnerReferences[0].Name}, owner))
		// It has none if the ReplicaSet has just tried again by itself.
		assert.Contains(t, []string{workload.ReadyMark(mv), ""}, owner.Annotations[v1alpha1.AnnotationModelReady])
		require.NotNil(t, pod.Spec.Volumes[indexOfServed(pod)].Image, "the cluster has image volumes")
		assert.Equal(t, sumsOf(t, dir), live.sumsIn(t, pod))
	}
}

// The operator is configured for the first mode. The pod of the second one is
// created here as the operator would create it.
func TestServingModes(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	dir.write(t, ".hidden", "hidden")
	require.NoError(t, os.Symlink("config.json", dir.at("link")))
	mv := live.built(t, makeVersion("resnet-1", ns, dir).New())
	// Builds need more rights than serving.
	run(t, "kubectl", "label", "namespace", ns, "--overwrite", "pod-security.kubernetes.io/enforce=restricted")

	volume := serverPod(ns, "image-volume")
	volume.Labels[v1alpha1.LabelServeVersion] = mv.Name
	copied, problem := inject.Serving(serverPod(ns, "init-container"), mv, inject.ServingInitContainer)
	require.Nil(t, problem)
	withoutRecord(copied)
	for _, pod := range []*corev1.Pod{volume, copied} {
		t.Run(pod.Name, func(t *testing.T) {
			live.create(t, pod)
			pod = live.runs(t, pod)
			assert.Equal(t, sumsOf(t, dir), live.sumsIn(t, pod))
			_, err := try(t.Context(), "kubectl", "exec", "-n", ns, pod.Name, "-c", "server", "--", "sh", "-c", "touch $KUBEDL_MODEL_PATH/mine")
			require.ErrorContains(t, err, "Read-only file system")
			// The symbolic link is one in both modes.
			assert.Equal(t, "config.json", strings.TrimSpace(run(t, "kubectl", "exec", "-n", ns, pod.Name, "-c", "server", "--", "readlink", "/kubedl-model/link")))
		})
	}
}

// withoutRecord removes what only the operator may write into a pod.
func withoutRecord(pod *corev1.Pod) {
	pod.Annotations = nil
	delete(pod.Labels, v1alpha1.LabelServedVersionUID)
}

// Neither the ModelVersion nor the pod names the Secret.
func TestServingPullSecret(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	closed := live.closedRegistry(t, ns)
	live.pushSecret(t, ns, contract.DefaultPushSecret, closed, registryPassword)
	pullsInPlainHTTP(t, closed)
	dir := model(t)

	mv := live.built(t, makeVersionAt(t, closed, "closed", ns, dir).New())
	assert.Equal(t, contract.DefaultPushSecret, mv.Status.PullSecretName)

	// The node does not have the image yet.
	without, problem := inject.Serving(serverPod(ns, "without"), mv, inject.ServingImageVolume)
	require.Nil(t, problem)
	withoutRecord(without)
	without.Spec.ImagePullSecrets = nil
	live.create(t, without)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var events corev1.EventList
		require.NoError(collect, live.List(t.Context(), &events, client.InNamespace(ns), client.MatchingFields{"involvedObject.name": without.Name}))
		assert.True(collect, slices.ContainsFunc(events.Items, func(e corev1.Event) bool { return e.Type == corev1.EventTypeWarning && e.Reason == "Failed" }), "the registry requires a password")
	}, noticeTime, tick)

	pod := serverPod(ns, "closed")
	pod.Labels[v1alpha1.LabelServeVersion] = mv.Name
	live.create(t, pod)
	pod = live.runs(t, pod)
	assert.Equal(t, []corev1.LocalObjectReference{{Name: contract.DefaultPushSecret}}, pod.Spec.ImagePullSecrets)
	assert.Equal(t, sumsOf(t, dir), live.sumsIn(t, pod))
}

// pullsInPlainHTTP has the node pull from a registry over plain HTTP, as the
// platform team configures it on the node.
func pullsInPlainHTTP(t *testing.T, registry string) {
	t.Helper()
	settings := filepath.Join("/var/lib/modelkiln-cluster/registries", registry)
	require.NoError(t, os.MkdirAll(settings, 0o755))
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(settings)) })
	text := fmt.Sprintf("[host.'http://%s']\n  capabilities = ['pull', 'resolve']\n", registry)
	require.NoError(t, os.WriteFile(filepath.Join(settings, "hosts.toml"), []byte(text), 0o644))
}

// The revisions of a StatefulSet and a DaemonSet are other objects than those of a
// Deployment.
func TestServingRevisions(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	old := live.built(t, makeVersion("resnet-1", ns, dir).Model("resnet").New())
	live.latest(t, old)
	deployment := server(ns, "by-model", v1alpha1.LabelServeModel, "resnet")
	stateful := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "stateful"},
		Spec:       appsv1.StatefulSetSpec{Selector: deployment.Spec.Selector, Template: deployment.Spec.Template, ServiceName: "none"},
	}
	daemons := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "daemons"},
		Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "daemons"}}, Template: *deployment.Spec.Template.DeepCopy()},
	}
	daemons.Spec.Template.Labels["app"] = "daemons"
	ofStateful, ofDaemons := deployment, server(ns, "daemons", v1alpha1.LabelServeModel, "resnet")
	live.create(t, stateful)
	live.create(t, daemons)
	live.allServe(t, ofStateful, 1, old)
	live.allServe(t, ofDaemons, 1, old)
	latest := live.built(t, makeVersion("resnet-2", ns, dir).Model("resnet").New())
	live.latest(t, latest)

	run(t, "kubectl", "scale", "statefulset/stateful", "-n", ns, "--replicas=2")
	live.allServe(t, ofStateful, 2, old)
	run(t, "kubectl", "delete", "pod", "-n", ns, "-l", "app=daemons")
	live.allServe(t, ofDaemons, 1, old)
	for _, step := range []struct {
		command string
		want    *v1alpha1.ModelVersion
	}{{"restart", latest}, {"undo", old}} {
		run(t, "kubectl", "rollout", step.command, "statefulset/stateful", "-n", ns)
		run(t, "kubectl", "rollout", step.command, "daemonset/daemons", "-n", ns)
		live.allServe(t, ofStateful, 2, step.want)
		live.allServe(t, ofDaemons, 1, step.want)
	}
}

// These are the commands in the documentation.
func TestServingRollout(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	first, second := model(t), model(t)
	second.write(t, "config.json", `{"layers": 3}`)
	old := live.built(t, makeVersion("resnet-1", ns, first).Model("resnet").New())
	live.latest(t, old)
	byModel := server(ns, "by-model", v1alpha1.LabelServeModel, "resnet")
	byVersion := server(ns, "by-version", v1alpha1.LabelServeVersion, old.Name)
	for _, deployment := range []*appsv1.Deployment{byModel, byVersion} {
		live.create(t, deployment)
		live.servingPod(t, deployment, old)
	}

	latest := live.built(t, makeVersion("resnet-2", ns, second).Model("resnet").New())
	live.latest(t, latest)
	run(t, "kubectl", "scale", "deployment/by-model", "-n", ns, "--replicas=3")
	live.allServe(t, byModel, 3, old)

	run(t, "kubectl", "rollout", "restart", "deployment/by-model", "-n", ns)
	live.allServe(t, byModel, 3, latest)
	assert.Equal(t, sumsOf(t, second), live.sumsIn(t, live.servingPod(t, byModel, latest)))
	run(t, "kubectl", "rollout", "undo", "deployment/by-model", "-n", ns)
	live.allServe(t, byModel, 3, old)
	run(t, "kubectl", "delete", "pod", "-n", ns, "-l", "app=by-model", "--wait=false")
	live.allServe(t, byModel, 3, old)

	// kubectl copied the annotations of the old ReplicaSet to the Deployment.
	run(t, "kubectl", "rollout", "restart", "deployment/by-model", "-n", ns)
	live.allServe(t, byModel, 3, latest)
	run(t, "kubectl", "scale", "deployment/by-model", "-n", ns, "--replicas=4")
	live.allServe(t, byModel, 4, latest)

	run(t, "kubectl", "patch", "deployment", "by-version", "-n", ns, "-p", `{"spec":{"template":{"metadata":{"labels":{"model.kubedl.io/serve-version":"resnet-2"}}}}}`)
	run(t, "kubectl", "rollout", "status", "deployment/by-version", "-n", ns, "--timeout=1m")
	assert.Equal(t, sumsOf(t, second), live.sumsIn(t, live.servingPod(t, byVersion, latest)))
}

// KServe runs the image as a container beside the server. The model must be at
// /models.
func TestKServeModelcar(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		engine    v1alpha1.BuildEngine
		modelPath string
	}{
		"Kaniko":                    {engine: v1alpha1.Kaniko},
		"Stream":                    {engine: v1alpha1.Stream},
		"Stream, a real directory":  {engine: v1alpha1.Stream, modelPath: "/models"},
		"Kaniko, another directory": {engine: v1alpha1.Kaniko, modelPath: "/opt/llm/model"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := model(t)
			version := makeVersion("resnet-1", ns, dir).Engine(tt.engine).New()
			version.Spec.Build.ModelPath = tt.modelPath
			mv := live.built(t, version)

			mnt := []corev1.VolumeMount{{Name: "mnt", MountPath: "/mnt"}}
			log := live.logOf(t, ns, corev1.PodSpec{
				ShareProcessNamespace: ptr.To(true),
				InitContainers: []corev1.Container{{
					Name: "modelcar", Image: mv.Status.Image, RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), VolumeMounts: mnt,
					// Kubernetes replaces two dollar signs by one.
					Command: []string{"sh", "-c", "[ -d /models ] && [ -f /kubedl-model/config.json ] && ln -sf /proc/$$$$/root/models /mnt/models && sleep 3600"},
				}},
				Containers: []corev1.Container{{
					Name: "server", Image: live.registry + "/library/busybox:1.37", VolumeMounts: mnt,
					Command: []string{"sh", "-ec", "until [ -e /mnt/models/config.json ]; do sleep 0.1; done; cd /mnt/models/ && find . -type f -exec sha256sum {} +"},
				}},
				Volumes: []corev1.Volume{{Name: "mnt", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
			})
			assert.Equal(t, sumsOf(t, dir), parseSums(log))
		})
	}
}

// server returns a Deployment of one pod that serves a model.
func server(namespace, name, label, value string) *appsv1.Deployment {
	pod := serverPod(namespace, name)
	pod.Labels[label] = value
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
}

// serverPod returns a pod that the Pod Security Standard level restricted
// admits. It starts if it finds its model.
func serverPod(namespace, name string) *corev1.Pod {
	container := shell("server", `ls "$KUBEDL_MODEL_PATH/config.json" && exec sleep 3600`)
	container.SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](1),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](1000),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{container},
		},
	}
}

// awaitRejected waits until the Deployment's ReplicaSet reports that its pod
// was rejected with this text.
func (c *cluster) awaitRejected(t *testing.T, deployment *appsv1.Deployment, part string) {
	t.Helper()
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var events corev1.EventList
		require.NoError(collect, c.List(t.Context(), &events, client.InNamespace(deployment.Namespace), client.MatchingFields{"reason": "FailedCreate"}))
		assert.True(collect, slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return strings.HasPrefix(e.InvolvedObject.Name, deployment.Name+"-") && strings.Contains(e.Message, part)
		}), "%v", events.Items)
	}, noticeTime, tick)
}

// servingPod returns the running pod of a Deployment that serves a
// ModelVersion.
func (c *cluster) servingPod(t *testing.T, deployment *appsv1.Deployment, mv *v1alpha1.ModelVersion) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var pods corev1.PodList
		require.NoError(collect, c.List(t.Context(), &pods, client.InNamespace(deployment.Namespace), client.MatchingLabels(deployment.Spec.Selector.MatchLabels)))
		i := slices.IndexFunc(pods.Items, func(p corev1.Pod) bool {
			return p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp.IsZero() && p.Annotations[v1alpha1.AnnotationServedVersion] == mv.Name
		})
		require.GreaterOrEqual(collect, i, 0, "%v", pods.Items)
		pod = &pods.Items[i]
	}, time.Minute, tick)
	assert.True(t, strings.HasSuffix(pod.Annotations[v1alpha1.AnnotationServedImage], "@"+mv.Status.Digest), pod.Annotations)
	return pod
}

// allServe waits until a Deployment has this many pods that run, no others, and all
// of them serve a ModelVersion.
func (c *cluster) allServe(t *testing.T, deployment *appsv1.Deployment, count int, mv *v1alpha1.ModelVersion) {
	t.Helper()
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		var pods corev1.PodList
		require.NoError(collect, c.List(t.Context(), &pods, client.InNamespace(deployment.Namespace), client.MatchingLabels(deployment.Spec.Selector.MatchLabels)))
		require.Len(collect, pods.Items, count)
		for _, pod := range pods.Items {
			assert.Equal(collect, corev1.PodRunning, pod.Status.Phase)
			assert.Nil(collect, pod.DeletionTimestamp)
			assert.Equal(collect, mv.Name, pod.Annotations[v1alpha1.AnnotationServedVersion])
		}
	}, time.Minute, tick)
}

// runs returns a pod when it runs.
func (c *cluster) runs(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	now := &corev1.Pod{}
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		require.NoError(collect, c.Get(t.Context(), client.ObjectKeyFromObject(pod), now))
		require.Equal(collect, corev1.PodRunning, now.Status.Phase, "%+v", now.Status)
	}, time.Minute, tick)
	return now
}

// indexOfServed returns the index of the served model among a pod's volumes.
func indexOfServed(pod *corev1.Pod) int {
	return slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "served-model" })
}

// sumsIn returns the SHA-256 sums of the files that a pod's container finds as
// its model, by path.
func (c *cluster) sumsIn(t *testing.T, pod *corev1.Pod) map[string]string {
	t.Helper()
	out := run(t, "kubectl", "exec", "-n", pod.Namespace, pod.Name, "-c", "server", "--", "sh", "-c", `cd "$KUBEDL_MODEL_PATH" && find . -type f -exec sha256sum {} +`)
	return parseSums(out)
}
