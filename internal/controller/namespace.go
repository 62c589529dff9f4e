package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// fieldOwner is the operator's field manager in server-side apply.
const fieldOwner = client.FieldOwner("modelkiln")

// The operator may patch objects of these names only. A permission to create objects
// cannot be limited to a name.
//
// +kubebuilder:rbac:groups="",resources=serviceaccounts;configmaps,verbs=create,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=patch,resourceNames=modelkiln-build,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=patch,resourceNames=modelkiln-registry-ca,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=create,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=patch,resourceNames=modelkiln-build,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=bind,resourceNames=modelkiln-build,roleName=modelkiln-namespaced

// Namespaces prepares namespaces for the pods of Workflows.
type Namespaces struct {
	// Client writes.
	Client client.Client
	// Live reads namespaces from the API server.
	Live client.Reader
	// RegistryCA is the PEM bundle that the pods trust for private registries; empty when
	// there are none.
	RegistryCA string
	// ServiceAccountAnnotations are annotations of the service account of the pods.
	ServiceAccountAnnotations map[string]string
	// Now is the clock.
	Now func() time.Time

	// prepared are the namespaces that have what the pods need.
	prepared preparedNamespaces
}

// prepare applies what the pods need in a namespace: the service account
// that they run as, its permission to report results to Argo, and the certificates
// of private registries. Applying them again changes nothing, and so is left out for a
// while. It reports whether the namespace assigns users to containers.
func (n *Namespaces) prepare(ctx context.Context, name string) (assignsUsers bool, err error) {
	namespace := namespaceMetadata()
	if err := n.Live.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		return false, fmt.Errorf("get Namespace %q: %w", name, err)
	}
	if n.prepared.recently(namespace, n.Now()) {
		return workload.AssignsUsers(namespace), nil
	}
	for _, object := range namespaceObjects(name, n.RegistryCA, n.ServiceAccountAnnotations) {
		if err := n.Client.Apply(ctx, object, fieldOwner, client.ForceOwnership); err != nil {
			return false, fmt.Errorf("prepare namespace %q for builds: %w", name, err)
		}
	}
	n.prepared.add(namespace, n.Now())
	return workload.AssignsUsers(namespace), nil
}

// assignsUsers reports whether a namespace assigns users to containers.
func assignsUsers(ctx context.Context, live client.Reader, name string) (bool, error) {
	namespace := namespaceMetadata()
	if err := live.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		return false, fmt.Errorf("get Namespace %q: %w", name, err)
	}
	return workload.AssignsUsers(namespace), nil
}

// forget has the next pass prepare a namespace again.
func (n *Namespaces) forget(name string) { n.prepared.forget(name) }

// preparedFor is for how long a namespace counts as prepared: users may delete or change
// what builds need in it.
const preparedFor = time.Minute

// preparedNamespaces are the namespaces to which the operator has recently applied what
// builds need, by name.
type preparedNamespaces struct {
	mu  sync.Mutex
	all map[string]preparation
}

// A preparation is when a namespace was prepared. Another one may have its name by now.
type preparation struct {
	namespace types.UID
	at        time.Time
}

func (p *preparedNamespaces) recently(namespace client.Object, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, found := p.all[namespace.GetName()]
	return found && last.namespace == namespace.GetUID() && now.Sub(last.at) < preparedFor
}

func (p *preparedNamespaces) add(namespace client.Object, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[string]preparation{}
	}
	p.all[namespace.GetName()] = preparation{namespace: namespace.GetUID(), at: now}
}

func (p *preparedNamespaces) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, name)
}

// namespaceObjects returns the objects to apply. The bundle is applied even if it is
// empty, so that a certificate that was removed from the configuration is no longer
// trusted. Annotations, labels and imagePullSecrets of the service account that others
// have set are kept; the API server replaces lists of imagePullSecrets as a whole, which
// is why the operator sets none.
func namespaceObjects(namespace, registryCA string, annotations map[string]string) []runtime.ApplyConfiguration {
	labels := map[string]string{"app.kubernetes.io/managed-by": "modelkiln"}
	bundle := corev1ac.ConfigMap(contract.RegistryCAConfigMap, namespace).WithLabels(labels)
	if registryCA != "" {
		bundle.WithData(map[string]string{"ca.crt": registryCA})
	}
	return []runtime.ApplyConfiguration{
		corev1ac.ServiceAccount(contract.BuildServiceAccount, namespace).WithLabels(labels).WithAnnotations(annotations),
		rbacv1ac.RoleBinding(contract.BuildServiceAccount, namespace).WithLabels(labels).
			WithRoleRef(rbacv1ac.RoleRef().
				WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(contract.BuildClusterRole)).
			WithSubjects(rbacv1ac.Subject().
				WithKind(rbacv1.ServiceAccountKind).WithName(contract.BuildServiceAccount).WithNamespace(namespace)),
		bundle,
	}
}
