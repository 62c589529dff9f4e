package webhook

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/test/builders"
)

// What is valid is a test of inject.
func TestServingVerification(t *testing.T) {
	for name, tt := range map[string]struct {
		mode             inject.VerificationMode
		rejected, warned bool
	}{
		"off":            {mode: inject.VerificationOff},
		"not configured": {},
		"warn":           {mode: inject.VerificationWarn, warned: true},
		"require":        {mode: inject.VerificationRequire, rejected: true},
	} {
		t.Run(name, func(t *testing.T) {
			mv := builders.MakeModelVersion("v1", "team-a").Built("modelhub/resnet:v1", builders.Digest).Obj()
			c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(mv).Build()
			serving := &Serving{Live: c, Client: c, Mount: inject.ServingImageVolume, Verification: inject.Verification{Mode: tt.mode}}
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelServeVersion: "v1"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "serve"}}},
			}
			before := pod.DeepCopy()
			var warnings []string
			ctx := context.WithValue(t.Context(), warningsKey{}, &warnings)
			ctx = admission.NewContextWithRequest(ctx, admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Namespace: "team-a"}})
			want := `ModelVersion "v1": the operator's configuration has no key for the namespace team-a in verification.keys: ask the platform team to add one`

			err := serving.Default(ctx, pod)

			if tt.rejected {
				require.EqualError(t, err, want)
				assert.Equal(t, before, pod)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "v1", pod.Annotations[v1alpha1.AnnotationServedVersion])
			if tt.warned {
				assert.Equal(t, []string{want}, warnings)
			} else {
				assert.Empty(t, warnings)
			}
		})
	}
}
