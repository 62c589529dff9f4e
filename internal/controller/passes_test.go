package controller

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestPassesCheck(t *testing.T) {
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	synced := true
	passes := &Passes{Cache: &informertest.FakeInformers{Synced: &synced}, Now: func() time.Time { return now }}
	check := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", http.NoBody)
		require.NoError(t, err)
		return passes.Check(req)
	}
	require.NoError(t, check())

	released, entered, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	stuck := known(passes, "modelversion", reconcile.Func(func(context.Context, ctrl.Request) (ctrl.Result, error) {
		close(entered)
		<-released
		return ctrl.Result{}, nil
	}))
	go func() {
		defer close(done)
		_, err := stuck.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "team-a", Name: "mv-3"}})
		assert.NoError(t, err)
	}()
	<-entered
	now = now.Add(maxPass)
	require.NoError(t, check())
	now = now.Add(time.Second)
	require.EqualError(t, check(), "a pass of modelversion team-a/mv-3 has been running for 5m1s")
	close(released)
	<-done
	require.NoError(t, check(), "it has ended")

	synced = false
	now = now.Add(maxPass)
	require.NoError(t, check())
	now = now.Add(time.Second)
	require.EqualError(t, check(), "the caches have not been filled for 5m1s")
	synced = true
	require.NoError(t, check())
}
