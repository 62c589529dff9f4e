package metrics

import "sync"

const (
	// maxNamespaces is how many namespaces have series of their own. Each has six. Tenants
	// create namespaces in some clusters, and a series does not disappear before the
	// operator ends.
	maxNamespaces = 200
	// otherNamespaces is the value of the label namespace for all others. No namespace can
	// have this name.
	otherNamespaces = "_other"
)

// namespaces are those that have series of their own.
type namespaces struct {
	mu    sync.Mutex
	known map[string]bool
}

// label returns the value of the label for a namespace.
func (n *namespaces) label(namespace string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.known[namespace] && len(n.known) >= maxNamespaces {
		return otherNamespaces
	}
	if n.known == nil {
		n.known = map[string]bool{}
	}
	n.known[namespace] = true
	return namespace
}
