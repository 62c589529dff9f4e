package webhook

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/workload"
	"github.com/modelkiln/modelkiln/test/builders"
)

func testScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	return scheme
}

// Another replica of the operator records the version of another pod of the same
// ReplicaSet between this replica's look and its write.
func TestServingRecordedByAnotherReplica(t *testing.T) {
	const namespace = "team-a"
	version := func(name string) *v1alpha1.ModelVersion {
		return builders.MakeModelVersion(name, namespace).Built("modelhub/resnet:"+name, builders.Digest).Obj()
	}
	model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "model1"}}
	model.Status.LatestVersion = &v1alpha1.LatestVersion{ModelVersion: "v2", ImageName: "modelhub/resnet:v2", Digest: builders.Digest}
	owner := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-65d8", UID: "1c072d5e", Controller: ptr.To(true)}
	earlier, err := workload.NewServedRecord(namespace, owner, workload.Served{Model: "model1", ModelVersion: "v1", Digest: builders.Digest})
	require.NoError(t, err)
	first := true
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(version("v1"), version("v2"), model).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if _, isRecord := o.(*appsv1.ControllerRevision); isRecord && first {
				first = false
				require.NoError(t, c.Create(ctx, earlier))
			}
			return c.Create(ctx, o, opts...)
		},
	}).Build()
	serving := &Serving{Live: c, Client: c, Mount: inject.ServingInitContainer}
	ctx := admission.NewContextWithRequest(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Namespace: namespace}})
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelServeModel: "model1"}, OwnerReferences: []metav1.OwnerReference{owner}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "server"}}},
	}

	require.NoError(t, serving.Default(ctx, pod))
	assert.False(t, first)
	assert.Equal(t, "v1", pod.Annotations[v1alpha1.AnnotationServedVersion])
}
