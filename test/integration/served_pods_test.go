package integration

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// restrictedPod is a pod that the Pod Security level restricted takes.
func restrictedPod(namespace, label, value string) *corev1.Pod {
	pod := plainPod(namespace)
	pod.Labels = map[string]string{label: value}
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](1000),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	return pod
}

// built is a version in the scene's namespace that is Ready.
func (s scene) built(changes ...change) *v1alpha1.ModelVersion {
	s.t.Helper()
	s.apply(localVersion, changes...)
	return s.buildSucceeds(s.argo.awaitOnlyWorkflow())
}

func withMount(way inject.ServingMount) func(*settings) {
	return withConfig(func(c *config.Config) { c.ServingMount = way })
}

// The namespace is restricted, and the pod is one that it takes.
func TestAServingPodIsMadeWithItsVersionsModel(t *testing.T) {
	for _, way := range []inject.ServingMount{inject.ServingAuto, inject.ServingImageVolume, inject.ServingInitContainer} {
		t.Run(string(way), func(t *testing.T) {
			startWithWebhook(t, withMount(way))
			s := newScene(t, shared)
			mv := s.built()
			s.awaitLatest("resnet", s.latest(resnet))
			s.enforce("restricted")
			repository, _, _ := strings.Cut(mv.Status.Image, ":")
			image := repository + "@" + digest

			for label, value := range map[string]string{v1alpha1.LabelServeVersion: resnet, v1alpha1.LabelServeModel: "resnet"} {
				pod := restrictedPod(s.namespace, label, value)
				pod.Annotations = map[string]string{v1alpha1.AnnotationServedImage: "registry.example.com/evil", v1alpha1.AnnotationServedVersion: "evil"}
				require.NoError(t, s.client.Create(t.Context(), pod))

				assert.Equal(t, image, pod.Annotations[v1alpha1.AnnotationServedImage])
				assert.Equal(t, resnet, pod.Annotations[v1alpha1.AnnotationServedVersion])
				assert.Equal(t, []corev1.LocalObjectReference{{Name: contract.DefaultPushSecret}}, pod.Spec.ImagePullSecrets)
				require.Len(t, pod.Spec.Volumes, 1)
				mount := pod.Spec.Containers[0].VolumeMounts[0]
				assert.Equal(t, [2]any{v1alpha1.ModelPath, true}, [2]any{mount.MountPath, mount.ReadOnly})
				assert.Equal(t, []corev1.EnvVar{{Name: v1alpha1.ModelPathEnv, Value: v1alpha1.ModelPath}}, pod.Spec.Containers[0].Env)
				if way == inject.ServingInitContainer {
					assert.NotNil(t, pod.Spec.Volumes[0].EmptyDir)
					assert.Equal(t, image, pod.Spec.InitContainers[0].Image)
					continue
				}
				// The API server of the tests is of a version that has them.
				assert.Equal(t, &corev1.ImageVolumeSource{Reference: image, PullPolicy: corev1.PullIfNotPresent}, pod.Spec.Volumes[0].Image)
				assert.Equal(t, "kubedl-model", mount.SubPath)
				assert.Empty(t, pod.Spec.InitContainers)
			}
		})
	}
}

// enforce sets the Pod Security level of the scene's namespace.
func (s scene) enforce(level string) {
	s.t.Helper()
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"`+level+`"}}}`))
	require.NoError(s.t, s.client.Patch(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}, patch))
}

func TestAServingPodThatIsRefusedIsToldWhy(t *testing.T) {
	startWithWebhook(t)
	s := newScene(t, shared)
	const again = "Pods of a Deployment, StatefulSet, DaemonSet or Job are created automatically once the ModelVersion is Ready; a pod of nobody's has to be created again then"
	refused := func(t *testing.T, want string, labels map[string]string) {
		t.Helper()
		pod := plainPod(s.namespace)
		pod.Labels = labels
		err := s.client.Create(t.Context(), pod)
		require.True(t, apierrors.IsForbidden(err), "%v", err)
		assert.ErrorContains(t, err, want)
	}
	version := func(name string) map[string]string { return map[string]string{v1alpha1.LabelServeVersion: name} }
	model := func(name string) map[string]string { return map[string]string{v1alpha1.LabelServeModel: name} }

	t.Run("its version does not exist", func(t *testing.T) {
		refused(t, `there is no ModelVersion "none" in namespace `+s.namespace+`, which the pod's label model.kubedl.io/serve-version names: apply it, and the pod can be made`, version("none"))
	})
	t.Run("its Model does not exist", func(t *testing.T) {
		refused(t, `there is no Model "none" in namespace `+s.namespace+`, which the pod's label model.kubedl.io/serve-model names: apply a ModelVersion of it, and the pod can be made when that is Ready`, model("none"))
	})
	t.Run("its version and its Model are another namespace's", func(t *testing.T) {
		other := newScene(t, shared)
		other.built(set("metadata.name", "elsewhere", "spec.modelName", "elsewhere"))
		refused(t, `there is no ModelVersion "elsewhere" in namespace `+s.namespace, version("elsewhere"))
		refused(t, `there is no Model "elsewhere" in namespace `+s.namespace, model("elsewhere"))
	})
	t.Run("a label is empty", func(t *testing.T) {
		refused(t, "label model.kubedl.io/serve-version is empty: let it name a ModelVersion of the namespace, or leave it out", version(""))
		refused(t, "label model.kubedl.io/serve-model is empty: let it name a Model of the namespace, or leave it out", model(""))
	})
	t.Run("it has both labels", func(t *testing.T) {
		refused(t, "the pod has both labels, model.kubedl.io/serve-version and model.kubedl.io/serve-model: leave one of them out",
			map[string]string{v1alpha1.LabelServeVersion: resnet, v1alpha1.LabelServeModel: "resnet"})
	})
	t.Run("its version builds, fails, and is being deleted", func(t *testing.T) {
		s := s.in(t)
		s.apply(localVersion, set("metadata.finalizers", []any{"example.com/backup"}))
		wf := s.argo.awaitOnlyWorkflow()
		s.argo.runs(wf, contract.StepBuild)
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		refused(t, `ModelVersion "resnet-1": it is not built yet (WorkflowRunning): `+mv.Status.Message+". "+again, version(resnet))
		refused(t, `no version is Ready of Model "resnet", which the pod's label model.kubedl.io/serve-model names (kubectl get mv -n `+s.namespace+` -l model.kubedl.io/model-name=resnet). `+again, model("resnet"))

		mv = s.buildFails(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		refused(t, `ModelVersion "resnet-1": its build failed (SourceEmpty): `+mv.Status.Message+". "+again, version(resnet))

		require.NoError(t, s.client.Delete(t.Context(), mv))
		refused(t, `ModelVersion "resnet-1", which the pod's label model.kubedl.io/serve-version names, is being deleted: the pod needs another one`, version(resnet))
	})
}

// workloads are one of each kind, with pods that have a label. None of their
// controllers runs here.
func workloads(namespace, name, label, value string) []client.Object {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name, label: value}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "server", Image: "registry.example.com/server"}}},
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	job := &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: *template.DeepCopy()}}
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return []client.Object{
		&appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: template}},
		&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}},
		&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}},
		job,
	}
}

// createWorkloads creates workloads, one of each kind, none of which has a pod.
func (s scene) createWorkloads(name, label, value string) []client.Object {
	s.t.Helper()
	all := workloads(s.namespace, name, label, value)
	for _, w := range all {
		require.NoError(s.t, s.client.Create(s.t.Context(), w))
		s.t.Cleanup(func() { assert.NoError(s.t, s.client.Delete(context.WithoutCancel(s.t.Context()), w)) })
		if daemons, is := w.(*appsv1.DaemonSet); is {
			daemons.Status.DesiredNumberScheduled = 1
			require.NoError(s.t, s.client.Status().Update(s.t.Context(), daemons))
		}
	}
	return all
}

// awaitTold waits until workloads were told of a version, and nothing else of
// them has changed.
func (s scene) awaitTold(workloads []client.Object, mark string) {
	s.t.Helper()
	for _, w := range workloads {
		require.EventuallyWithT(s.t, func(c *assert.CollectT) {
			require.NoError(c, s.client.Get(s.t.Context(), client.ObjectKeyFromObject(w), w))
			assert.Equal(c, mark, w.GetAnnotations()[v1alpha1.AnnotationModelReady], "%T", w)
		}, deadline, tick)
		assert.EqualValues(s.t, 1, w.GetGeneration(), "%T", w)
	}
}

func TestWorkloadsThatWaitAreToldWhenTheirModelIsReady(t *testing.T) {
	op := startOperator(t, shared)
	s := newScene(t, shared)
	byVersion := s.createWorkloads("by-version", v1alpha1.LabelServeVersion, resnet)
	byModel := s.createWorkloads("by-model", v1alpha1.LabelServeModel, "resnet")
	others := s.createWorkloads("others", v1alpha1.LabelServeVersion, "bert-1")
	complete := s.createWorkloads("complete", v1alpha1.LabelServeVersion, resnet)[0].(*appsv1.ReplicaSet)
	complete.Status.Replicas = 1
	require.NoError(t, s.client.Status().Update(t.Context(), complete))
	elsewhere := newScene(t, shared)
	foreign := elsewhere.createWorkloads("foreign", v1alpha1.LabelServeVersion, resnet)

	mark := workload.ReadyMark(s.built())
	s.awaitTold(byVersion, mark)
	s.awaitTold(byModel, mark)

	var told eventsv1.Event
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var list eventsv1.EventList
		require.NoError(c, s.client.List(t.Context(), &list, client.InNamespace(s.namespace)))
		for _, e := range list.Items {
			if e.Regarding.Kind == "ReplicaSet" && e.Reason == "ModelReady" {
				told = e
			}
		}
		assert.Equal(c, "ModelVersion resnet-1, which the pods serve, is Ready: they can be made", told.Note)
	}, deadline, tick)

	op.settles(t, shared)
	for _, w := range append(append(others, foreign...), complete) {
		require.NoError(t, s.client.Get(t.Context(), client.ObjectKeyFromObject(w), w))
		assert.NotContains(t, w.GetAnnotations(), v1alpha1.AnnotationModelReady, "%T %s", w, w.GetName())
	}
}

func TestWorkloadsThatWaitedWhileTheOperatorWasDownAreTold(t *testing.T) {
	op := startOperator(t, shared)
	s := newScene(t, shared)
	mv := s.built()
	op.stop()
	workloads := s.createWorkloads("waits", v1alpha1.LabelServeVersion, resnet)

	startOperator(t, shared)
	s.awaitTold(workloads, workload.ReadyMark(mv))
}

// Whoever can change what a workload runs can run anything as anybody.
func TestTheOperatorCannotChangeWhatWorkloadsRun(t *testing.T) {
	who, err := client.New(shared.serviceAccountConfig(t, operatorNamespace, operatorAccount), client.Options{Scheme: testScheme()})
	require.NoError(t, err)
	s := newScene(t, shared)
	for _, w := range s.createWorkloads("theirs", v1alpha1.LabelServeVersion, resnet) {
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"server","image":"registry.example.com/evil"}]}}}}`))
		err := who.Patch(t.Context(), w.DeepCopyObject().(client.Object), patch)
		require.True(t, apierrors.IsForbidden(err), "%T: %v", w, err)

		require.NoError(t, who.Status().Patch(t.Context(), w, patch))
		require.NoError(t, s.client.Get(t.Context(), client.ObjectKeyFromObject(w), w))
		assert.EqualValues(t, 1, w.GetGeneration(), "%T", w)
	}
	// It watches Jobs, which versions may wait for.
	const changes = "create,update,patch,delete"
	assertRights(t, who, s.namespace, []rule{
		{groups: "apps", resources: "replicasets,statefulsets,daemonsets,deployments", verbs: "get,watch," + changes},
		{groups: "batch", resources: "jobs", verbs: changes},
	}, false)
}
