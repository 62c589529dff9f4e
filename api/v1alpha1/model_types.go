package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ModelSpec describes a model. Everything that can be built is specified by its
// ModelVersions, and which of them is in use by aliases.
type ModelSpec struct {
	// description is free text that describes the model.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Description *string `json:"description,omitempty"`
	// aliases are names for ModelVersions of this Model, such as production. Pods
	// with the labels model.kubedl.io/serve-model and model.kubedl.io/serve-alias
	// serve the ModelVersion of an alias. To promote another ModelVersion, change
	// the alias. The default is no alias; there are at most 32.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Aliases []Alias `json:"aliases,omitempty"`
}

// Alias is a name for a ModelVersion.
//
// +kubebuilder:validation:XValidation:rule="!has(self.tag) || !self.tag || !self.name.matches('^v[0-9a-f]{5,}$')",message="an alias with tag: true must not have the name of an automatic tag, which is v and five or more hexadecimal digits: choose another name, for example production"
type Alias struct {
	// name is the name of the alias, and with tag the registry tag. It is a DNS
	// label: lower-case letters, digits and '-', at most 63 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="the name of an alias consists of lower-case letters, digits and '-', for example production"
	Name string `json:"name,omitempty"`
	// version is the name of the ModelVersion. It has to belong to this Model and
	// to be Ready: until then, the alias keeps the ModelVersion that it had, and
	// its status says why.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="version is the name of a ModelVersion (kubectl get mv lists them): use lower-case letters, digits, '-' and '.'"
	Version string `json:"version,omitempty"`
	// tag moves the registry tag with the name of the alias, in the repository of
	// the ModelVersion, to its image. The tag must not exist, or hold an image of
	// this Model. The default is false: the registry is not changed. The tag is not
	// removed with the alias.
	// +optional
	Tag bool `json:"tag,omitempty"`
}

// ModelStatus is the observed state of a Model.
type ModelStatus struct {
	// latestVersion is the newest ModelVersion, by creation, whose image was
	// built. A ModelVersion that is running or failed is never the latest. The
	// field is absent until one has succeeded.
	// +optional
	LatestVersion *LatestVersion `json:"latestVersion,omitempty"`
	// aliases are the aliases in spec, as they are in effect.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Aliases []AliasStatus `json:"aliases,omitempty"`
}

// AliasStatus is the ModelVersion that an alias stands for, and those that it stood
// for.
type AliasStatus struct {
	// name is the name of the alias.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
	// version is the name of the ModelVersion that the alias stands for. It is not
	// the one in spec while that one cannot be resolved, and absent until one could.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Version string `json:"version,omitempty"`
	// versionUID is the UID of that ModelVersion. Another one of the same name with
	// another image is not promoted by its creation. It is absent if the alias got its
	// ModelVersion from a release that did not record it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	VersionUID string `json:"versionUID,omitempty"`
	// digest is the digest of its image's manifest, in the form "sha256:…".
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Digest string `json:"digest,omitempty"`
	// image is the image as a pod can pull it: with the tag of the alias once the
	// registry has it, for example modelhub/resnet:production, and with the tag of
	// the ModelVersion otherwise.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`
	// since is when the alias got this ModelVersion.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// by is the name of the authenticated user who promoted this ModelVersion, as
	// the webhook recorded it. It is absent if the webhook was unavailable.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	By string `json:"by,omitempty"`
	// history are the ModelVersions that the alias stood for before, the last one
	// first, at most 20. A rollback promotes the first one.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	History []AliasRecord `json:"history,omitempty"`
	// pods counts the pods that serve the alias. It is absent until the alias stands
	// for a ModelVersion.
	// +optional
	Pods *AliasPods `json:"pods,omitempty"`
	// tag is the state of the registry tag. It is absent unless spec asks for one.
	// +optional
	Tag *AliasTag `json:"tag,omitempty"`
	// reason is why the alias is not yet what spec asks for, for example
	// AliasUnresolved. It is absent if it is.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`
	// message explains the reason, and says what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Message string `json:"message,omitempty"`
}

// Reasons of an alias. Those of its registry tag are in conditions.go: the Workflow that
// moves the tag fails with the same reasons as one that builds.
const (
	// ReasonAliasUnresolved means that the ModelVersion in spec does not exist, belongs to
	// another Model, is being deleted, or is not Ready. The alias keeps the ModelVersion
	// that it had, and gets the other one as soon as that is Ready.
	ReasonAliasUnresolved = "AliasUnresolved"
	// ReasonTagMoving means that a Workflow moves the registry tag of the alias.
	ReasonTagMoving = "TagMoving"
)

// AliasRecord is a ModelVersion that an alias stood for.
type AliasRecord struct {
	// version is the name of the ModelVersion.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Version string `json:"version,omitempty"`
	// digest is the digest of its image's manifest, in the form "sha256:…".
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Digest string `json:"digest,omitempty"`
	// from is when the alias got this ModelVersion.
	// +optional
	From *metav1.Time `json:"from,omitempty"`
	// to is when the alias got the next one.
	// +optional
	To *metav1.Time `json:"to,omitempty"`
	// by is the name of the authenticated user who promoted this ModelVersion.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	By string `json:"by,omitempty"`
}

// AliasPods counts the pods with the labels of an alias that have not ended.
type AliasPods struct {
	// current is the number of pods that serve the ModelVersion of the alias.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	Current int32 `json:"current"`
	// behind is the number of pods that serve another one, which the alias had when
	// they were created. They stay until their workload is restarted.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	Behind int32 `json:"behind"`
}

// AliasTag is the state of the registry tag of an alias.
type AliasTag struct {
	// digest is the digest to which the tag refers, as the registry returned it when
	// the tag was moved. It is absent until then.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Digest string `json:"digest,omitempty"`
	// workflow is the name of the Workflow that moves the tag to the digest of the
	// alias, or has moved it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Workflow string `json:"workflow,omitempty"`
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
