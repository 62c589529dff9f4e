package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ModelSpec describes a model. Everything that can be built is specified by its
// ModelVersions.
type ModelSpec struct {
	// description is free text that describes the model.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Description *string `json:"description,omitempty"`
}

// ModelStatus is the observed state of a Model.
type ModelStatus struct {
	// latestVersion is the newest ModelVersion, by creation, whose image was
	// built. A ModelVersion that is running or failed is never the latest. The
	// field is absent until one has succeeded.
	// +optional
	LatestVersion *LatestVersion `json:"latestVersion,omitempty"`
}

// LatestVersion references a ModelVersion whose image was built.
type LatestVersion struct {
	// modelVersion is the name of the ModelVersion.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ModelVersion string `json:"modelVersion,omitempty"`
	// imageName is the image as a pod can pull it, for example
	// modelhub/resnet:v1c072.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	ImageName string `json:"imageName,omitempty"`
	// digest is the digest of the image's manifest, in the form "sha256:…". It
	// is absent for ModelVersions that KubeDL built.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Digest string `json:"digest,omitempty"`
}

// Model groups the ModelVersions of one trained model and references the latest
// one that was built.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mo,categories=modelkiln
// +kubebuilder:printcolumn:name="Latest-Version",type=string,JSONPath=`.status.latestVersion.modelVersion`
// +kubebuilder:printcolumn:name="Latest-Image",type=string,JSONPath=`.status.latestVersion.imageName`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.latestVersion.digest`,priority=1
// +kubebuilder:printcolumn:name="Description",type=string,JSONPath=`.spec.description`,priority=1
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name of a Model is a label value on its ModelVersions: use at most 63 characters"
type Model struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata. The name has at most 63
	// characters, because it is a label value on the ModelVersions.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec describes the model.
	// +optional
	Spec ModelSpec `json:"spec,omitempty"`
	// status is the observed state of the Model. Only the operator writes it.
	// +optional
	Status ModelStatus `json:"status,omitempty"`
}

// ModelList is a list of Models.
//
// +kubebuilder:object:root=true
type ModelList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Model `json:"items"`
}
