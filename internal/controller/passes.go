package controller

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// maxPass is how long a pass may run, and the caches may take to be filled, before the
// process counts as stuck. A pass of ModelVersions is canceled after passTimeout, but
// what does not wait for anything does not notice.
const maxPass = 5 * time.Minute

// Passes are the passes of all reconcilers that run at the moment. They are what the
// liveness probe is about.
type Passes struct {
	// Cache is the cache of the controllers.
	Cache cache.Cache
	// Now is the clock.
	Now func() time.Time

	mu      sync.Mutex
	started time.Time
	next    int
	running map[int]pass
}

// A pass is one that runs.
type pass struct {
	name  string
	since time.Time
}

// known returns a reconciler whose passes are known.
func known[request comparable](p *Passes, controller string, r reconcile.TypedReconciler[request]) reconcile.TypedReconciler[request] {
	return reconcile.TypedFunc[request](func(ctx context.Context, req request) (ctrl.Result, error) {
		defer p.begin(fmt.Sprintf("%s %v", controller, req))()
		return r.Reconcile(ctx, req)
	})
}

// begin records that a pass begins, and returns what to call when it ends.
func (p *Passes) begin(name string) (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		p.running = map[int]pass{}
	}
	p.next++
	number := p.next
	p.running[number] = pass{name: name, since: p.Now()}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.running, number)
	}
}

// Check is the liveness check. It returns an error while a pass does not end, or the
// caches are not filled.
func (p *Passes) Check(req *http.Request) error {
	synced := p.isSynced(req.Context())
	now := p.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started.IsZero() || synced {
		p.started = now
	}
	if unsynced := now.Sub(p.started); unsynced > maxPass {
		return fmt.Errorf("the caches have not been filled for %s", unsynced.Round(time.Second))
	}
	for _, pass := range p.running {
		if duration := now.Sub(pass.since); duration > maxPass {
			return fmt.Errorf("a pass of %s has been running for %s", pass.name, duration.Round(time.Second))
		}
	}
	return nil
}

// isSynced reports whether the caches are filled now.
func (p *Passes) isSynced(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return p.Cache.WaitForCacheSync(ctx)
}
