package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// waits are since when the Workflows of ModelVersions wait, by the operator's own
// clock: those of Argo and of the API server may be minutes ahead or behind. They are
// kept in memory: when the operator restarts, a wait begins again.
type waits struct {
	mu    sync.Mutex
	begun map[types.NamespacedName]wait
}

// A wait is what a Workflow waits for, and when a pass first saw that.
type wait struct {
	what  string
	since time.Time
}

// since returns when the present wait of a ModelVersion's Workflow began, which is now
// if the last pass has seen another one or none. An empty string is no wait.
func (w *waits) since(key types.NamespacedName, what string, now time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if what == "" {
		delete(w.begun, key)
		return now
	}
	if last, found := w.begun[key]; found && last.what == what {
		return last.since
	}
	if w.begun == nil {
		w.begun = map[types.NamespacedName]wait{}
	}
	w.begun[key] = wait{what: what, since: now}
	return now
}

// forget forgets a ModelVersion that was deleted.
func (w *waits) forget(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.begun, key)
}
