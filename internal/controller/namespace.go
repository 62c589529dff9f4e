package controller

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// fieldOwner is who the operator is to server-side apply.
const fieldOwner = client.FieldOwner("modelkiln")

// Nothing of any other name may be touched. What does not exist cannot be
// limited by name: to create is a right of its own.
//
// +kubebuilder:rbac:groups="",resources=serviceaccounts;configmaps,verbs=create
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=patch,resourceNames=modelkiln-build
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=patch,resourceNames=modelkiln-registry-ca
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=create
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=patch,resourceNames=modelkiln-build
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=bind,resourceNames=modelkiln-build

// prepareNamespace makes what build pods need in a namespace: the service
// account they run as, its right to report results to Argo, and the
// certificates of private registries. Applying what is there already changes
// nothing.
func (r *ModelVersionReconciler) prepareNamespace(ctx context.Context, namespace string) error {
	for _, object := range namespaceObjects(namespace, r.RegistryCA) {
		if err := r.Client.Apply(ctx, object, fieldOwner, client.ForceOwnership); err != nil {
			return fmt.Errorf("prepare namespace %q for builds: %w", namespace, err)
		}
	}
	return nil
}

// namespaceObjects are applied whole: without certificates the bundle is
// empty, so that one which was taken out of the configuration is trusted no
// longer.
func namespaceObjects(namespace, registryCA string) []runtime.ApplyConfiguration {
	labels := map[string]string{"app.kubernetes.io/managed-by": "modelkiln"}
	bundle := corev1ac.ConfigMap(contract.RegistryCAConfigMap, namespace).WithLabels(labels)
	if registryCA != "" {
		bundle.WithData(map[string]string{"ca.crt": registryCA})
	}
	return []runtime.ApplyConfiguration{
		corev1ac.ServiceAccount(contract.BuildServiceAccount, namespace).WithLabels(labels),
		rbacv1ac.RoleBinding(contract.BuildServiceAccount, namespace).WithLabels(labels).
			WithRoleRef(rbacv1ac.RoleRef().
				WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(contract.BuildClusterRole)).
			WithSubjects(rbacv1ac.Subject().
				WithKind(rbacv1.ServiceAccountKind).WithName(contract.BuildServiceAccount).WithNamespace(namespace)),
		bundle,
	}
}
