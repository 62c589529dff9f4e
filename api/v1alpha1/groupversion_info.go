// Package v1alpha1 contains the API model.kubedl.io/v1alpha1: Model and
// ModelVersion as KubeDL defined them, with Modelkiln's additions.
//
// +kubebuilder:object:generate=true
// +groupName=model.kubedl.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of the types in this package.
var GroupVersion = schema.GroupVersion{Group: "model.kubedl.io", Version: "v1alpha1"}

// AddToScheme registers the types of this package.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &Model{}, &ModelList{}, &ModelVersion{}, &ModelVersionList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
