package integration

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// A tenant fills objects of every kind that the operator watches. The operator
// neither keeps them nor stops building for others.
func TestHostileTenant(t *testing.T) {
	op := startOperator(t, shared)
	op.awaitTrainingKinds(t)
	hostile, s := newSandbox(t, shared), newSandbox(t, shared)
	hostile.create(claimVersion)
	wf := hostile.argo.awaitOnlyWorkflow()
	before := heap()

	written := 0
	large := func(name string, labels map[string]string) metav1.ObjectMeta {
		const annotations = 250 << 10 // The API server accepts 256 KiB.
		written += annotations
		return metav1.ObjectMeta{Namespace: hostile.namespace, Name: name, Labels: labels, Annotations: map[string]string{"example.com/a": letters(annotations)}}
	}
	for i := range 20 {
		pod := &corev1.Pod{ObjectMeta: large(fmt.Sprintf("pod-%d", i), maps.Clone(podLabels(t))), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a", Args: []string{letters(500 << 10)}}}}}
		pod.Labels[labelWorkflow], pod.Labels[v1alpha1.LabelTrainVersion] = wf.Name, resnet
		require.NoError(t, hostile.client.Create(t.Context(), pod))
		written += 500 << 10
	}
	for i := range 200 {
		copied := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": map[string]any{},
			"spec": map[string]any{"templates": []any{map[string]any{}}}, "status": map[string]any{"message": letters(100 << 10)},
		}}
		copied.SetNamespace(hostile.namespace)
		copied.SetName(fmt.Sprintf("copy-%d", i))
		copied.SetLabels(map[string]string{v1alpha1.LabelModelVersionUID: string(hostile.version(resnet).UID), labelCompleted: "true"})
		copied.SetOwnerReferences(wf.OwnerReferences)
		require.NoError(t, hostile.client.Create(t.Context(), copied))
		written += 100 << 10
	}
	for i := range 1000 {
		require.NoError(t, hostile.client.Create(t.Context(), &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: hostile.namespace, Name: fmt.Sprintf("event-%d", i)},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: hostile.namespace, Name: "pod-0", FieldPath: letters(30 << 10)},
			Reason:         "FailedMount", Message: letters(1000),
		}))
		written += 30 << 10
	}
	for i := range 20 {
		job := hostile.newJob(fmt.Sprintf("job-%d", i))
		job.ObjectMeta = large(job.Name, nil)
		job.Annotations[v1alpha1.AnnotationModelVersion] = "a"
		job.Spec.Suspend = ptr.To(true)
		require.NoError(t, hostile.client.Create(t.Context(), job))
	}

	s.create(localVersion)
	s.argo.completeWorkflow(s.argo.awaitOnlyWorkflow())
	s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
	op.drainQueue(t, shared)
	require.Greater(t, written, 40<<20)
	assert.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Less(c, int(heap())-int(before), written/4, "of %d bytes that were written", written)
	}, deadline, 500*time.Millisecond)
}

// heap returns the number of bytes that are in use.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// A training workload of any size and shape leads to a message or to nothing.
func TestHostileWorkload(t *testing.T) {
	startOperator(t, shared)
	s := newTemplateSandbox(t)
	s.createJobWithTemplate("large", claimTemplate+"#"+letters(250<<10))
	event := s.awaitEvent("Job", lifecycle.EventRefused, "and at most 16384 are read")
	assert.LessOrEqual(t, len(event.Note), 1024)

	// An alias that is repeated stands for gigabytes.
	s.createJobWithTemplate("aliases", "a: &a "+letters(100<<10)+"\nb: ["+strings.Repeat("*a,", 40<<10)+"]")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var list eventsv1.EventList
		require.NoError(c, s.client.List(t.Context(), &list, client.InNamespace(s.namespace)))
		assert.True(c, slices.ContainsFunc(list.Items, func(e eventsv1.Event) bool {
			return e.Regarding.Name == "aliases" && strings.Contains(e.Note, "and at most 16384 are read")
		}))
	}, deadline, tick)

	job := s.createJobWithTemplate("conditions", claimTemplate)
	conditions := []batchv1.JobCondition{{Type: batchv1.JobSuccessCriteriaMet}}
	for i := range 5000 {
		conditions = append(conditions, batchv1.JobCondition{Type: batchv1.JobConditionType(fmt.Sprintf("Condition%d", i)), Message: letters(100)})
	}
	s.finishJob(job, append(conditions, batchv1.JobCondition{Type: batchv1.JobComplete})...)
	s.awaitVersion(job)
}
