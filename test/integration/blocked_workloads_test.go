package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// workloads returns a workload of each kind whose pods have this label. None of
// their controllers runs here.
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

// createWorkloads creates a workload of each kind, without pods.
func (s sandbox) createWorkloads(name, label, value string) []client.Object {
	s.t.Helper()
	all := workloads(s.namespace, name, label, value)
	for _, w := range all {
		require.NoError(s.t, s.client.Create(s.t.Context(), w))
		s.deleteAfterTest(w)
		if daemons, is := w.(*appsv1.DaemonSet); is {
			daemons.Status.DesiredNumberScheduled = 1
			require.NoError(s.t, s.client.Status().Update(s.t.Context(), daemons))
		}
	}
	return all
}

// awaitReadyMark waits until the operator has annotated workloads with a
// ModelVersion that is Ready, and checks that their specs have not changed.
func (s sandbox) awaitReadyMark(workloads []client.Object, mark string) {
	s.t.Helper()
	for _, w := range workloads {
		require.EventuallyWithT(s.t, func(c *assert.CollectT) {
			s.refresh(c, w)
			assert.Equal(c, mark, w.GetAnnotations()[v1alpha1.AnnotationModelReady], "%T", w)
		}, deadline, tick)
		assert.EqualValues(s.t, 1, w.GetGeneration(), "%T", w)
	}
}

func TestBlockedWorkloads(t *testing.T) {
	op := startOperator(t, shared)
	s := newSandbox(t, shared)
	byVersion := s.createWorkloads("by-version", v1alpha1.LabelServeVersion, resnet)
	byModel := s.createWorkloads("by-model", v1alpha1.LabelServeModel, "resnet")
	others := s.createWorkloads("others", v1alpha1.LabelServeVersion, "bert-1")
	complete := s.createWorkloads("complete", v1alpha1.LabelServeVersion, resnet)[0].(*appsv1.ReplicaSet)
	complete.Status.Replicas = 1
	require.NoError(t, s.client.Status().Update(t.Context(), complete))
	elsewhere := newSandbox(t, shared)
	foreign := elsewhere.createWorkloads("foreign", v1alpha1.LabelServeVersion, resnet)

	mark := workload.ReadyMark(s.createReady())
	s.awaitReadyMark(byVersion, mark)
	s.awaitReadyMark(byModel, mark)

	event := s.awaitEvent("ReplicaSet", "ModelReady", "ModelVersion resnet-1")
	assert.Equal(t, "ModelVersion resnet-1 is Ready; pods that serve it can now be created", event.Note)

	op.drainQueue(t, shared)
	for _, w := range append(append(others, foreign...), complete) {
		s.refresh(t, w)
		assert.NotContains(t, w.GetAnnotations(), v1alpha1.AnnotationModelReady, "%T %s", w, w.GetName())
	}
}

func TestBlockedWorkloadsCreatedWhileOperatorIsDown(t *testing.T) {
	op := startOperator(t, shared)
	s := newSandbox(t, shared)
	mv := s.createReady()
	op.stop()
	blocked := s.createWorkloads("blocked", v1alpha1.LabelServeVersion, resnet)

	startOperator(t, shared)
	s.awaitReadyMark(blocked, workload.ReadyMark(mv))
}
