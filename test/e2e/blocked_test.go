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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestPodNotStarted(t *testing.T) {
	t.Parallel()
	lacking := metav1.ObjectMeta{Name: "settings"}
	tests := map[string]struct {
		// needs has the template refer to a ConfigMap that does not exist.
		needs  func(t *testing.T, template *wfv1.ClusterWorkflowTemplate)
		reason string
	}{
		"a volume": {
			needs: func(t *testing.T, template *wfv1.ClusterWorkflowTemplate) {
				volume := corev1.Volume{Name: "settings"}
				volume.ConfigMap = &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: lacking.Name}}
				template.Spec.Templates[0].Volumes = append(template.Spec.Templates[0].Volumes, volume)
				check := containerOf(t, template, "mount-check")
				check.VolumeMounts = append(check.VolumeMounts, corev1.VolumeMount{Name: volume.Name, MountPath: "/settings"})
			},
			reason: v1alpha1.ReasonVolumeMountFailed,
		},
		"a variable": {
			needs: func(t *testing.T, template *wfv1.ClusterWorkflowTemplate) {
				from := &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: lacking.Name}, Key: "level"}
				check := containerOf(t, template, "mount-check")
				check.Env = append(check.Env, corev1.EnvVar{Name: "LEVEL", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: from}})
			},
			reason: v1alpha1.ReasonPodNotStarted,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := model(t)
			template := copyOfTemplate(t, ns)
			tt.needs(t, template)
			live.create(t, template)
			live.deleteAfter(t, template)

			mv := live.waits(t, makeVersion("lacking", ns, dir).WorkflowTemplate(ns).New(), tt.reason)
			require.EventuallyWithT(t, func(collect *assert.CollectT) {
				// A busy kubelet reports other volumes, for which it waits, first.
				require.Contains(collect, live.refresh(t, mv).Status.Message, lacking.Name)
			}, noticeTime, tick)
			// Argo may have noticed the template only after the first attempt.
			attempts := live.refresh(t, mv).Status.Attempts
			settings := &corev1.ConfigMap{ObjectMeta: *lacking.DeepCopy(), Data: map[string]string{"level": "1"}}
			settings.Namespace = ns
			live.create(t, settings)

			mv = live.ready(t, mv)
			assertImage(t, mv, dir)
			assert.Equal(t, attempts, mv.Status.Attempts)
		})
	}
}

func TestPodDeletedEachTime(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newDirectory(t)
	dir.random(t, "weights.bin", 400_000_000)
	mv := makeVersion("unlucky", ns, dir).New()
	began := time.Now()
	live.create(t, mv)

	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		mv = live.refresh(t, mv)
		if mv.Status.Workflow != nil {
			pods, err := live.podsOf(t.Context(), ns, mv.Status.Workflow.Name)
			require.NoError(collect, err)
			for i := range pods {
				if pods[i].Status.Phase == corev1.PodRunning && pods[i].DeletionTimestamp == nil {
					require.NoError(collect, client.IgnoreNotFound(live.Delete(t.Context(), &pods[i])))
				}
			}
		}
		require.True(collect, meta.IsStatusConditionTrue(mv.Status.Conditions, v1alpha1.ConditionStalled))
	}, buildTime, tick)
	logNoticed(t, mv, time.Since(began))
	assert.Equal(t, v1alpha1.ReasonPodLost, conditionReady(mv).Reason)
	assert.Equal(t, int64(1), mv.Status.Attempts)

	runCommand(t, mv.Status.Message)
	assertImage(t, live.readyAgain(t, mv), dir)
}

// This test runs alone: without Argo's CRD there are no Workflows at all.
func TestArgoInstalledLater(t *testing.T) {
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Name: "workflows.argoproj.io"}, crd))
	installed := crd.DeepCopy()
	installed.SetResourceVersion("")
	installed.SetUID("")
	ns := live.namespace(t)
	dir := model(t)
	// An operator that is just starting waits for kinds that it has found.
	live.failed(t, makeVersion("running", ns, dir).LocalStorage(publicDirectory, nodeName).New())
	after(t, func(ctx context.Context) {
		err := live.Create(ctx, installed.DeepCopy())
		assert.True(t, apierrors.IsAlreadyExists(err), "the test has installed it again: %v", err)
	})
	require.NoError(t, live.Delete(t.Context(), crd))

	mv := live.waits(t, makeVersion("argoless", ns, dir).New(), v1alpha1.ReasonArgoMissing)
	require.NoError(t, live.Create(t.Context(), installed.DeepCopy()))

	assertImage(t, live.ready(t, mv), dir)
}
