package controller

import (
	"crypto/sha256"
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

// A wait is a hash of what a Workflow waits for, and when a pass first saw that. A user
// can write a name of a megabyte into each Workflow.
type wait struct {
	what  [sha256.Size]byte
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
	hash := sha256.Sum256([]byte(what))
	if last, found := w.begun[key]; found && last.what == hash {
		return last.since
	}
	if w.begun == nil {
		w.begun = map[types.NamespacedName]wait{}
	}
	w.begun[key] = wait{what: hash, since: now}
	return now
}

// forget forgets a ModelVersion that was deleted.
func (w *waits) forget(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.begun, key)
}
