package controller

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func object(name, resourceVersion string) client.Object {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: resourceVersion}}
}

func TestFirst(t *testing.T) {
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	plain, prior := &handler.EnqueueRequestForObject{}, first(&handler.EnqueueRequestForObject{})
	existed := func(name string) event.CreateEvent {
		return event.CreateEvent{Object: object(name, "1"), IsInInitialList: true}
	}
	plain.Create(t.Context(), existed("existed"), q)
	prior.Create(t.Context(), existed("existed and had begun"), q)
	plain.Create(t.Context(), event.CreateEvent{Object: object("new", "1")}, q)
	plain.Create(t.Context(), event.CreateEvent{Object: object("newer", "1")}, q)
	prior.Update(t.Context(), event.UpdateEvent{ObjectOld: object("ended", "1"), ObjectNew: object("ended", "2")}, q)
	prior.Delete(t.Context(), event.DeleteEvent{Object: object("deleted", "1")}, q)

	var got []string
	for range 6 {
		request, _ := q.Get()
		got = append(got, request.Name)
		q.Done(request)
	}
	assert.Equal(t, []string{"ended", "deleted", "new", "newer", "existed and had begun", "existed"}, got)
}

func TestDelayed(t *testing.T) {
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	h := delayed(&handler.EnqueueRequestForObject{}, time.Hour)
	for range 2 {
		h.Generic(t.Context(), event.GenericEvent{Object: object("later", "1")}, q)
	}
	(&handler.EnqueueRequestForObject{}).Generic(t.Context(), event.GenericEvent{Object: object("now", "1")}, q)
	request, _ := q.Get()
	assert.Equal(t, "now", request.Name)
	require.Zero(t, q.Len(), "the other one is not due")
}
