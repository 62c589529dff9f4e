package controller

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

var (
	trainJob = schema.GroupVersionKind{Group: "trainer.kubeflow.org", Version: "v1alpha1", Kind: "TrainJob"}
	jobSet   = schema.GroupVersionKind{Group: "jobset.x-k8s.io", Version: "v1alpha2", Kind: "JobSet"}
	job      = schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
)

// A kindCluster is a cluster in which kinds are installed and removed, with a
// KindWatcher.
type kindCluster struct {
	t       *testing.T
	crds    crdReader
	mapper  *meta.DefaultRESTMapper
	watcher KindWatcher
	// changes counts the calls of onChange.
	changes int
	// watchErr is the error that a watch returns.
	watchErr error
	// watches counts the watches that succeeded.
	watches map[schema.GroupVersionKind]int
}

func newKindCluster(t *testing.T, removable bool, sets ...[]schema.GroupVersionKind) *kindCluster {
	c := &kindCluster{t: t, crds: crdReader{}, mapper: meta.NewDefaultRESTMapper(nil), watches: map[schema.GroupVersionKind]int{}}
	c.watcher = KindWatcher{crds: c.crds, mapper: c.mapper, onChange: func(context.Context) { c.changes++ }}
	for _, kinds := range sets {
		watch := func(context.Context) error {
			if c.watchErr == nil {
				c.watches[kinds[0]]++
			}
			return c.watchErr
		}
		c.watcher.sets = append(c.watcher.sets, &kindSet{kinds: kinds, watch: watch, removable: removable, present: new(atomic.Bool)})
	}
	return c
}

func (c *kindCluster) serve(kind schema.GroupVersionKind) {
	c.mapper.Add(kind, meta.RESTScopeNamespace)
}

func (c *kindCluster) reconcile() error {
	_, err := c.watcher.Reconcile(c.t.Context(), ctrl.Request{})
	return err
}

func (c *kindCluster) present() bool { return c.watcher.sets[0].present.Load() }

// crdReader is a reader of CRDs that exist by name.
type crdReader map[string]bool

func (r crdReader) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	if !r[key.Name] {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "customresourcedefinitions"}, key.Name)
	}
	return nil
}

func (r crdReader) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("not expected")
}

func TestKindWatcherReconcile(t *testing.T) {
	t.Run("ignores a kind that is absent", func(t *testing.T) {
		c := newKindCluster(t, false, []schema.GroupVersionKind{trainJob})
		require.NoError(t, c.reconcile())
		assert.Empty(t, c.watches)
		assert.Zero(t, c.changes)
	})
	t.Run("watches a built-in kind once", func(t *testing.T) {
		c := newKindCluster(t, false, []schema.GroupVersionKind{job})
		c.serve(job)
		require.NoError(t, c.reconcile())
		require.NoError(t, c.reconcile())
		assert.Equal(t, map[schema.GroupVersionKind]int{job: 1}, c.watches)
		assert.Equal(t, 1, c.changes)
	})
	t.Run("retries until the kind of a new CRD is served", func(t *testing.T) {
		c := newKindCluster(t, false, []schema.GroupVersionKind{trainJob})
		c.crds["trainjobs.trainer.kubeflow.org"] = true
		require.EqualError(t, c.reconcile(), "the API server does not serve TrainJob.trainer.kubeflow.org yet")
		assert.Zero(t, c.changes)
		c.serve(trainJob)
		require.NoError(t, c.reconcile())
		assert.Equal(t, 1, c.watches[trainJob])
		assert.Equal(t, 1, c.changes)
	})
	t.Run("retries a watch that failed", func(t *testing.T) {
		c := newKindCluster(t, false, []schema.GroupVersionKind{job})
		c.serve(job)
		c.watchErr = errors.New("no cache")
		require.ErrorIs(t, c.reconcile(), c.watchErr)
		assert.False(t, c.present())
		c.watchErr = nil
		require.NoError(t, c.reconcile())
		assert.True(t, c.present())
	})
	t.Run("reports a kind that appeared although another one fails", func(t *testing.T) {
		c := newKindCluster(t, false, []schema.GroupVersionKind{trainJob}, []schema.GroupVersionKind{jobSet}, []schema.GroupVersionKind{job})
		c.serve(trainJob)
		c.serve(job)
		c.crds["jobsets.jobset.x-k8s.io"] = true
		require.ErrorContains(t, c.reconcile(), "does not serve JobSet")
		assert.Equal(t, map[schema.GroupVersionKind]int{trainJob: 1, job: 1}, c.watches)
		assert.Equal(t, 1, c.changes)
	})
	t.Run("waits for all kinds of a set", func(t *testing.T) {
		c := newKindCluster(t, true, argoKinds)
		c.crds["workflows.argoproj.io"] = true
		c.serve(argoKinds[0])
		require.NoError(t, c.reconcile())
		assert.False(t, c.present())
		c.crds["clusterworkflowtemplates.argoproj.io"] = true
		c.serve(argoKinds[1])
		require.NoError(t, c.reconcile())
		assert.True(t, c.present())
	})
	t.Run("follows the CRD of a removable kind", func(t *testing.T) {
		c := newKindCluster(t, true, []schema.GroupVersionKind{trainJob})
		c.crds["trainjobs.trainer.kubeflow.org"] = true
		c.serve(trainJob)
		for _, installed := range []bool{true, false, true} {
			c.crds["trainjobs.trainer.kubeflow.org"] = installed
			require.NoError(t, c.reconcile())
			assert.Equal(t, installed, c.present())
		}
		assert.Equal(t, 1, c.watches[trainJob], "the kind is watched only once")
		assert.Equal(t, 3, c.changes)
	})
	t.Run("keeps a kind that is not removable", func(t *testing.T) {
		c := newKindCluster(t, false, []schema.GroupVersionKind{trainJob})
		c.crds["trainjobs.trainer.kubeflow.org"] = true
		c.serve(trainJob)
		require.NoError(t, c.reconcile())
		delete(c.crds, "trainjobs.trainer.kubeflow.org")
		require.NoError(t, c.reconcile())
		assert.True(t, c.present())
		assert.Equal(t, 1, c.changes)
	})
}

func TestKindWatcherHasGroup(t *testing.T) {
	c := newKindCluster(t, false, []schema.GroupVersionKind{trainJob}, []schema.GroupVersionKind{jobSet})
	for name, want := range map[string]bool{
		"trainjobs.trainer.kubeflow.org":        true,
		"trainingruntimes.trainer.kubeflow.org": true,
		"jobsets.jobset.x-k8s.io":               true,
		"pytorchjobs.kubeflow.org":              false,
		"workflows.argoproj.io":                 false,
	} {
		t.Run(name, func(t *testing.T) {
			crd := crdMetadata()
			crd.SetName(name)
			assert.Equal(t, want, c.watcher.hasGroup().Create(event.CreateEvent{Object: crd}))
		})
	}
}

func TestArgoCacheReader(t *testing.T) {
	argo := &ArgoCache{}
	argo.present.Store(true)
	assert.Nil(t, argo.Reader(), "before the kinds are watched")
}
