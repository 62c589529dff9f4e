package webhook

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// owned returns an object whose name is also its UID, and that another one controls.
func owned(apiVersion, kind, name string, by *unstructured.Unstructured) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace("team-a")
	o.SetName(name)
	o.SetUID(types.UID(name))
	if by != nil {
		o.SetOwnerReferences([]metav1.OwnerReference{controlledBy(by)})
	}
	return o
}

func controlledBy(o *unstructured.Unstructured) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Name: o.GetName(), UID: o.GetUID(), Controller: ptr.To(true)}
}

// The pods of a JobSet are a Job's, and those of a TrainJob a JobSet's.
func TestTrainingOwnerChain(t *testing.T) {
	const template = "modelName: resnet\nimageRepo: modelhub/resnet\nstorage: {persistentVolumeClaim: {claimName: models}}\n"
	for name, tt := range map[string]struct {
		// carrier is the kind of the workload that has the template.
		carrier string
		// chain returns the owners, the pod's first.
		chain func() []*unstructured.Unstructured
		want  string
	}{
		"a Job": {"Job", func() []*unstructured.Unstructured {
			return []*unstructured.Unstructured{owned("batch/v1", "Job", "job", nil)}
		}, "mv-job-job"},
		"a JobSet": {"JobSet", func() []*unstructured.Unstructured {
			set := owned("jobset.x-k8s.io/v1alpha2", "JobSet", "set", nil)
			return []*unstructured.Unstructured{owned("batch/v1", "Job", "job", set), set}
		}, "mv-set-set"},
		"a TrainJob": {"TrainJob", func() []*unstructured.Unstructured {
			train := owned("trainer.kubeflow.org/v1alpha1", "TrainJob", "train", nil)
			set := owned("jobset.x-k8s.io/v1alpha2", "JobSet", "train", train)
			return []*unstructured.Unstructured{owned("batch/v1", "Job", "job", set), set, train}
		}, "mv-train-train"},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-a", Labels: map[string]string{v1alpha1.LabelVersionsFromWorkloads: "true"}}}
			objects := []client.Object{namespace}
			chain := tt.chain()
			for _, o := range chain {
				if o.GetKind() == tt.carrier {
					o.SetAnnotations(map[string]string{v1alpha1.AnnotationModelVersion: template})
				}
				objects = append(objects, o)
			}
			c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(objects...).Build()
			training := &Training{Live: c, Options: workflow.Options{TrainingKinds: workload.TrainingKinds()}}
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelTrainVersion: ""}, OwnerReferences: []metav1.OwnerReference{controlledBy(chain[0])}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "train"}}},
			}
			ctx := admission.NewContextWithRequest(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Namespace: "team-a"}})
			require.NoError(t, training.Default(ctx, pod))
			assert.Equal(t, tt.want, pod.Labels[v1alpha1.LabelTrainVersion])
			assert.Equal(t, "models", pod.Spec.Volumes[0].PersistentVolumeClaim.ClaimName)
		})
	}
}
