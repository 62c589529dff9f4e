package controller

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// begun is the priority of passes about builds that have begun over those that begin
// one. Otherwise a build that has ended would wait for thousands to begin. It is less
// than what separates changes from what existed when the operator started
// (handler.LowPriority).
const begun = 10

// first returns a handler whose requests are served before those of others.
func first(h handler.EventHandler) handler.EventHandler {
	return adjusted{h, func(o *priorityqueue.AddOpts) { o.Priority = ptr.To(ptr.Deref(o.Priority, 0) + begun) }}
}

// delayed returns a handler whose requests are served later, so that many changes in the
// meantime lead to one pass.
func delayed(h handler.EventHandler, by time.Duration) handler.EventHandler {
	return adjusted{h, func(o *priorityqueue.AddOpts) { o.After = by }}
}

// adjusted is a handler whose requests are added to the queue in another way.
type adjusted struct {
	handler.EventHandler
	adjust func(*priorityqueue.AddOpts)
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func (h adjusted) Create(ctx context.Context, e event.CreateEvent, q queue) {
	h.EventHandler.Create(ctx, e, h.queue(q))
}

func (h adjusted) Update(ctx context.Context, e event.UpdateEvent, q queue) {
	h.EventHandler.Update(ctx, e, h.queue(q))
}

func (h adjusted) Delete(ctx context.Context, e event.DeleteEvent, q queue) {
	h.EventHandler.Delete(ctx, e, h.queue(q))
}

func (h adjusted) Generic(ctx context.Context, e event.GenericEvent, q queue) {
	h.EventHandler.Generic(ctx, e, h.queue(q))
}

// queue returns the queue of the handler. Those of controller-runtime are priority
// queues, unless an option of the controller asks for others.
func (h adjusted) queue(q queue) queue {
	return adjustedQueue{q.(priorityqueue.PriorityQueue[reconcile.Request]), h.adjust}
}

// adjustedQueue adjusts how requests are added to a queue.
type adjustedQueue struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	adjust func(*priorityqueue.AddOpts)
}

// Add adds a request without options.
func (q adjustedQueue) Add(request reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{}, request)
}

// AddWithOpts adds requests with adjusted options.
func (q adjustedQueue) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	q.adjust(&o)
	q.PriorityQueue.AddWithOpts(o, requests...)
}
