package controller

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/lifecycle"
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
	// RegistryCA is the PEM bundle that the pods trust for private registries; empty when
	// there are none.
	RegistryCA string
	// ServiceAccountAnnotations are annotations of the service account of the pods.
	ServiceAccountAnnotations map[string]string
}

// prepare applies what the pods need in a namespace: the service account that they run
// as, its permission to report results to Argo, and the certificates of private
// registries. Applying them again changes nothing.
func (n Namespaces) prepare(ctx context.Context, namespace string) error {
	for _, object := range namespaceObjects(namespace, n.RegistryCA, n.ServiceAccountAnnotations) {
		if err := n.Client.Apply(ctx, object, fieldOwner, client.ForceOwnership); err != nil {
			return fmt.Errorf("prepare namespace %q for builds: %w", namespace, err)
		}
	}
	return nil
}

// observeNamespace finds out whether the namespace assigns users to containers, if the
// pass may start an attempt.
func (r *ModelVersionReconciler) observeNamespace(ctx context.Context, observed *lifecycle.Observed) error {
	if followed := observed.Followed; !observed.TemplateFound || followed != nil && !followed.Status.Phase.Completed() {
		return nil
	}
	var err error
	observed.UserAssigned, err = assignsUsers(ctx, r.Live, observed.Version.Namespace)
	return err
}

// assignsUsers reports whether a namespace assigns users to containers.
func assignsUsers(ctx context.Context, live client.Reader, name string) (bool, error) {
	namespace := namespaceMetadata()
	if err := live.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		return false, fmt.Errorf("get Namespace %q: %w", name, err)
	}
	return workload.AssignsUsers(namespace), nil
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
