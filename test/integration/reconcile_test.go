package integration

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/controller"
)

// newReconciler returns a ModelVersion reconciler that reads from the given
// cache.
func (s sandbox) newReconciler(cache client.WithWatch) *controller.ModelVersionReconciler {
	return &controller.ModelVersionReconciler{
		Client: cache, Live: s.client, Argo: func() client.Reader { return cache }, Recorder: &events.FakeRecorder{},
		Options: config.Default().Options(), Now: time.Now,
		Namespaces: &controller.Namespaces{Client: s.client, Live: s.client, Now: time.Now},
	}
}

// request returns the request for a pass of the ModelVersion resnet-1.
func (s sandbox) request() ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKey{Namespace: s.namespace, Name: resnet}}
}

// The result of a ModelVersion and the deletion of its Workflow reach the
// operator through two watches. In the wrong order, they look like the deletion
// of an unfinished build.
func TestReconcileStaleCache(t *testing.T) {
	s := newSandbox(t, shared)
	s.create(localVersion)
	stale := s.edit(resnet, func(mv *v1alpha1.ModelVersion) {
		mv.Annotations = map[string]string{v1alpha1.AnnotationJoined: string(mv.UID)}
	})
	s.annotate(resnet, "example.com/note", "not in the cache")
	cache := interceptor.NewClient(s.client, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if mv, ok := o.(*v1alpha1.ModelVersion); ok {
				stale.DeepCopyInto(mv)
				return nil
			}
			return c.Get(ctx, key, o, opts...)
		},
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return nil },
	})

	result, err := s.newReconciler(cache).Reconcile(t.Context(), s.request())

	require.NoError(t, err)
	assert.Positive(t, result.RequeueAfter, "the reconciler tries again once the cache is fresh")
	assert.Empty(t, s.argo.workflows())
	assert.Empty(t, s.version(resnet).Status)
}

// The 404 of a missing API is an error. It does not mean that the ModelVersion
// does not exist.
func TestReconcileMissingKind(t *testing.T) {
	s := newSandbox(t, shared)
	s.create(localVersion)
	gone := apierrors.NewGenericServerResponse(404, "POST", schema.GroupResource{Group: "argoproj.io", Resource: "workflows"}, "", "", 0, true)
	withoutArgo := interceptor.NewClient(s.client, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return nil },
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if _, ok := o.(*v1alpha1.Model); ok {
				return c.Create(ctx, o, opts...)
			}
			return gone
		},
	})

	_, err := s.newReconciler(withoutArgo).Reconcile(t.Context(), s.request())

	assert.ErrorIs(t, err, gone)
}
