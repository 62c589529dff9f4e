package controller

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// replacedStates are the resource versions of ModelVersions that the operator itself has
// replaced since the last pass with a fresh cache. A pass that the cache shows one of them
// would read, decide and write in vain: its write would meet a conflict. A build that ends
// within milliseconds causes such passes.
type replacedStates struct {
	mu  sync.Mutex
	all map[types.NamespacedName][]string
}

// add adds the resource version that a write has replaced.
func (s *replacedStates) add(key types.NamespacedName, resourceVersion string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[types.NamespacedName][]string{}
	}
	s.all[key] = append(s.all[key], resourceVersion)
}

// has reports whether a write has replaced this resource version. If not, the cache has
// all writes, and they are forgotten.
func (s *replacedStates) has(key types.NamespacedName, resourceVersion string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.all[key], resourceVersion) {
		return true
	}
	delete(s.all, key)
	return false
}

// forget forgets a ModelVersion that was deleted.
func (s *replacedStates) forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, key)
}
