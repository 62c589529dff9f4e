package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// nodesTimeout is how long a request waits until the nodes have been listed, after
// the operator has started.
const nodesTimeout = 3 * time.Second

// Nodes are the nodes of the cluster, in a cache that is filled if the operator may
// read them. An installation for some namespaces may not.
type Nodes struct {
	// Live reads from the API server.
	Live client.Reader
	// Cache has the nodes.
	Cache cache.Cache

	// readable is true once the operator is known to have the permission, and
	// forbidden once it is known not to have it.
	readable, forbidden atomic.Bool
}

// +kubebuilder:rbac:groups="",resources=nodes,verbs=list;watch,roleName=modelkiln-serving

// Start finds out whether the operator may read nodes, and begins to watch them if it
// may. Every replica needs them.
func (n *Nodes) Start(ctx context.Context) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	if err := n.Live.List(ctx, list, client.Limit(1)); apierrors.IsForbidden(err) {
		n.forbidden.Store(true)
		ctrl.LoggerFrom(ctx).Info("The operator may not list nodes: pods that serve a model copy it, and do not mount its image. To mount it, grant list and watch on nodes and restart the operator, or set servingMount to ImageVolume")
		return nil
	}
	if _, err := n.Cache.GetInformer(ctx, &corev1.Node{}, cache.BlockUntilSynced(false)); err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	n.readable.Store(true)
	return nil
}

// NeedLeaderElection returns false: every replica serves the webhooks.
func (*Nodes) NeedLeaderElection() bool { return false }

// Ready is a readiness check. It returns an error until the nodes were read, or are known
// not to be readable: pods would get a copy of their model, and keep it.
func (n *Nodes) Ready(r *http.Request) error {
	if _, unknown := n.list(r.Context()); unknown != "" && !n.forbidden.Load() {
		return errors.New(unknown)
	}
	return nil
}

// list returns the nodes, or why they are not known. They share their memory with the
// cache.
func (n *Nodes) list(ctx context.Context) (nodes []corev1.Node, unknown string) {
	if n.forbidden.Load() {
		return nil, "the operator may not list the nodes"
	}
	ctx, cancel := context.WithTimeout(ctx, nodesTimeout)
	defer cancel()
	var list corev1.NodeList
	if !n.readable.Load() || n.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy) != nil {
		return nil, "the operator has not read the nodes yet"
	}
	return list.Items, ""
}
