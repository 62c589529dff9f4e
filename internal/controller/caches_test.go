package controller

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// hostileMetadata has a megabyte in each part of the metadata that users write.
func hostileMetadata(labels ...string) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{Namespace: "team", Name: "a", UID: "uid", Labels: map[string]string{}, Annotations: map[string]string{}}
	for i := range 10_000 {
		name := fmt.Sprint(i)
		meta.Labels["example.com/"+name] = strings.Repeat("a", 60)
		meta.Annotations["example.com/"+name] = strings.Repeat("a", 100)
		meta.Finalizers = append(meta.Finalizers, "example.com/"+strings.Repeat("a", 60)+name)
		meta.OwnerReferences = append(meta.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: strings.Repeat("a", 60), UID: types.UID(name)})
	}
	meta.OwnerReferences = append(meta.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ModelVersion", Name: "mv", UID: "owner", Controller: ptr.To(true)})
	meta.OwnerReferences = append(meta.OwnerReferences, metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Model", Name: "resnet", UID: "model"})
	for _, owner := range meta.OwnerReferences[:10_000] {
		owner.APIVersion, owner.Kind = v1alpha1.GroupVersion.String(), "Model"
		meta.OwnerReferences = append(meta.OwnerReferences, owner)
	}
	meta.Finalizers = append(meta.Finalizers, v1alpha1.FinalizerVolume)
	for _, label := range labels {
		meta.Labels[label] = "kept"
	}
	for _, annotation := range append(workflow.Annotations(), annotationNode, v1alpha1.AnnotationModelVersion, v1alpha1.AnnotationCreatedByUser) {
		meta.Annotations[annotation] = "kept" + strings.Repeat("a", 1<<20)
	}
	return meta
}

func TestCachedObjectsAreSmall(t *testing.T) {
	buildLabels := append(workload.ChiefLabels(), v1alpha1.LabelModelVersionUID, v1alpha1.LabelAttempt, labelPhase, labelCompleted, labelWorkflow, v1alpha1.LabelTrainVersion, v1alpha1.LabelBuildTemplate)
	for label := range contract.BuildPodLabels() {
		buildLabels = append(buildLabels, label)
	}
	metadata := func() client.Object {
		return &metav1.PartialObjectMetadata{ObjectMeta: hostileMetadata(buildLabels...)}
	}
	pod := func() client.Object {
		large := strings.Repeat("a", 1<<20)
		return &corev1.Pod{
			ObjectMeta: hostileMetadata(buildLabels...),
			Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Args: []string{large}}}},
			Status:     corev1.PodStatus{Phase: corev1.PodPending, Message: large},
		}
	}
	trainingPod := func() client.Object {
		training := pod().(*corev1.Pod)
		large := strings.Repeat("a", 1<<20)
		training.Annotations[v1alpha1.AnnotationServedVersion], training.Annotations[v1alpha1.AnnotationServedImage] = "mv-2"+large, "modelhub/resnet"+large
		for range 1000 {
			training.Status.ContainerStatuses = append(training.Status.ContainerStatuses, corev1.ContainerStatus{Name: large, Image: "train:v7" + large, ImageID: "train@sha256:" + large})
		}
		return training
	}
	gatedPod := func() client.Object {
		gated := pod().(*corev1.Pod)
		for i := range 10_000 {
			gated.Spec.SchedulingGates = append(gated.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: fmt.Sprintf("gate-%d", i)})
		}
		gated.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Reason: corev1.PodReasonSchedulingGated, Message: "waits" + strings.Repeat("a", 1<<20)}}
		return gated
	}
	event := func() client.Object {
		large := strings.Repeat("a", 1<<20)
		return &corev1.Event{
			ObjectMeta: hostileMetadata(), Message: "kept" + large, Source: corev1.EventSource{Component: large},
			InvolvedObject: corev1.ObjectReference{Kind: large, Namespace: large, Name: large, UID: types.UID("kept" + large), APIVersion: large, FieldPath: large},
		}
	}
	node := func() client.Object {
		large := strings.Repeat("a", 1<<20)
		n := &corev1.Node{ObjectMeta: hostileMetadata(), Spec: corev1.NodeSpec{Unschedulable: true, ProviderID: large}}
		n.Status.Images = []corev1.ContainerImage{{Names: []string{large}}}
		n.Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: "v1.35.0" + large, ContainerRuntimeVersion: "containerd://2.2.0" + large, OperatingSystem: "linux" + large, KernelVersion: large}
		return n
	}
	for name, tc := range map[string]struct {
		object    client.Object
		transform func(any) (any, error)
		kept      []string
	}{
		"a Workflow":                {metadata(), stripWorkflow, []string{v1alpha1.LabelModelVersionUID, v1alpha1.LabelAttempt, labelPhase, labelCompleted, v1alpha1.AnnotationRebuild, `"controller":true`}},
		"a ClusterWorkflowTemplate": {metadata(), stripTemplate, []string{v1alpha1.LabelBuildTemplate}},
		"a training workload":       {metadata(), stripWorkload, []string{v1alpha1.AnnotationModelVersion}},
		"the pod of a build":        {pod(), stripBuildPod, []string{labelWorkflow, annotationNode, `"controller":true`, "Pending"}},
		"a pod with gates":          {gatedPod(), stripBuildPod, []string{annotationNode, "gate-0", `"message":"waits`}},
		"a training pod":            {trainingPod(), stripTrainingPod, append(workload.ChiefLabels(), v1alpha1.LabelTrainVersion, "node-1", "Pending", `"mv-2`, `"modelhub/resnet`, `"train:v7`, `"train@sha256:`)},
		"a node":                    {node(), stripNode, []string{`"unschedulable":true`, "v1.35.0", "containerd://2.2.0", "linux"}},
		"an event":                  {event(), stripEvent, []string{`"message":"kept`, `"uid":"kept`}},
		"a ModelVersion":            {&v1alpha1.ModelVersion{ObjectMeta: hostileMetadata(v1alpha1.LabelModelName)}, stripVersion, []string{v1alpha1.AnnotationRebuild, v1alpha1.AnnotationCreatedByUser, v1alpha1.LabelModelName, v1alpha1.FinalizerVolume, `"uid":"model"`}},
		"a Model":                   {&v1alpha1.Model{ObjectMeta: hostileMetadata(), Spec: v1alpha1.ModelSpec{Description: ptr.To("kept")}}, stripModel, []string{"kept"}},
	} {
		t.Run(name, func(t *testing.T) {
			object, err := tc.transform(tc.object)
			require.NoError(t, err)
			raw, err := json.Marshal(object)
			require.NoError(t, err)
			for _, want := range tc.kept {
				assert.Contains(t, string(raw), want)
			}
			assert.Less(t, len(raw), 20<<10, "of an object of several megabytes")
		})
	}
}

// The API server accepts references to owners of any length.
func TestCachedOwnersAreSmall(t *testing.T) {
	large := strings.Repeat("a", 700<<10)
	for name, owner := range map[string]metav1.OwnerReference{
		"a controller": {APIVersion: "v1", Kind: "Pod", Name: large, UID: types.UID(large), Controller: ptr.To(true)},
		"a Model":      {APIVersion: v1alpha1.GroupVersion.String(), Kind: "Model", Name: large, UID: types.UID(large)},
	} {
		for kind, tc := range map[string]struct {
			object    client.Object
			transform func(any) (any, error)
		}{
			"a Workflow":          {&metav1.PartialObjectMetadata{}, stripWorkflow},
			"a training workload": {&metav1.PartialObjectMetadata{}, stripWorkload},
			"the pod of a build":  {&corev1.Pod{}, stripBuildPod},
			"a training pod":      {&corev1.Pod{}, stripTrainingPod},
			"a ModelVersion":      {&v1alpha1.ModelVersion{}, stripVersion},
			"a Model":             {&v1alpha1.Model{}, stripModel},
		} {
			t.Run(kind+" of "+name, func(t *testing.T) {
				tc.object.SetOwnerReferences([]metav1.OwnerReference{owner})
				object, err := tc.transform(tc.object)
				require.NoError(t, err)
				raw, err := json.Marshal(object)
				require.NoError(t, err)
				assert.Less(t, len(raw), 1<<10)
			})
		}
	}
}
