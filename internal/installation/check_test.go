package installation

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// The responses are those of a real API server: see TestInstallationCheck in
// test/integration.
func TestCheck(t *testing.T) {
	missing := &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: "ModelVersion"}}
	denied := apierrors.NewForbidden(schema.GroupResource{Resource: "models"}, "", errors.New("no role"))
	unreachable := apierrors.NewInternalError(errors.New("failed calling webhook"))
	tests := map[string]struct {
		list, create error
		promoter     string
		webhooks     bool
		want         string
	}{
		"everything works":          {promoter: "system:serviceaccount:a:b", webhooks: true},
		"no webhooks are installed": {},
		"no CRDs":                   {list: missing, want: "list ModelVersions in namespace team-a: no matches for kind"},
		"no webhook answers":        {create: unreachable, webhooks: true, want: "The API server must reach port 9443 of the operator"},
		"no webhook is called":      {webhooks: true, want: "the MutatingWebhookConfiguration modelkiln-pods does not exist, or does not select the namespace"},
		"no permission":             {create: denied, webhooks: true, want: "create a Model with a dry run in namespace team-a: models is forbidden: no role"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			require.NoError(t, v1alpha1.AddToScheme(scheme))
			responses := interceptor.Funcs{
				List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return tt.list },
				Create: func(_ context.Context, _ client.WithWatch, o client.Object, options ...client.CreateOption) error {
					assert.Contains(t, options, client.DryRunAll, "nothing is stored")
					if tt.promoter != "" {
						o.SetAnnotations(map[string]string{v1alpha1.AnnotationPromotedBy + alias: tt.promoter})
					}
					return tt.create
				},
			}
			err := check(t.Context(), fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(responses).Build(), "team-a", tt.webhooks)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
