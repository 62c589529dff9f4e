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

// reconcilerOver is the ModelVersion reconciler over a cache that a test
// decides about.
func (s scene) reconcilerOver(cache client.WithWatch) *controller.ModelVersionReconciler {
	return &controller.ModelVersionReconciler{
		Client: cache, Live: s.client, Argo: func() client.Reader { return cache }, Recorder: &events.FakeRecorder{},
		Options: config.Default().Options(), Now: time.Now,
	}
}

func (s scene) request(name string) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKey{Namespace: s.namespace, Name: name}}
}

// A version's end and its Workflow's deletion reach the operator by two
// watches. Seen in the wrong order, they look like an unfinished build that
// was deleted.
func TestAVersionThatTheCacheShowsLateIsNotBuiltAgain(t *testing.T) {
	s := newScene(t, shared)
	s.apply(localVersion)
	late := s.edit(resnet, func(mv *v1alpha1.ModelVersion) {
		mv.Annotations = map[string]string{v1alpha1.AnnotationJoined: string(mv.UID)}
	})
	s.annotate(resnet, "example.com/note", "what the cache has not seen")
	cache := interceptor.NewClient(s.client, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if mv, ok := o.(*v1alpha1.ModelVersion); ok {
				late.DeepCopyInto(mv)
				return nil
			}
			return c.Get(ctx, key, o, opts...)
		},
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return nil },
	})

	result, err := s.reconcilerOver(cache).Reconcile(t.Context(), s.request(resnet))

	require.NoError(t, err)
	assert.Positive(t, result.RequeueAfter, "it is asked again when the cache has caught up")
	assert.Empty(t, s.argo.workflows())
	assert.Empty(t, s.version(resnet).Status)
}

// That Argo's API is gone is not that the version is.
func TestAKindThatIsGoneIsAnError(t *testing.T) {
	s := newScene(t, shared)
	s.apply(localVersion)
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

	_, err := s.reconcilerOver(withoutArgo).Reconcile(t.Context(), s.request(resnet))

	assert.ErrorIs(t, err, gone)
}
