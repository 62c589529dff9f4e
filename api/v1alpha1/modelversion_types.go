package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ModelVersionSpec specifies where a trained model is stored and which image is
// built from it. The fields that identify the ModelVersion (modelName, imageRepo,
// imageTag, storage) are immutable; createdBy, build and lineage can be changed.
//
// Required fields are enforced by validation rules and not by the "required" list
// of the schema, so that the error message explains what to write. The schema and
// the API reference therefore list them as optional.
//
// +kubebuilder:validation:XValidation:rule="has(self.modelName)",message="modelName is required: name the Model that this is a version of, for example modelName: resnet"
// +kubebuilder:validation:XValidation:rule="has(self.imageRepo)",message="imageRepo is required: name the repository that the image is pushed to, for example imageRepo: modelhub/resnet"
// +kubebuilder:validation:XValidation:rule="!has(self.storage) || !has(self.storage.localStorage) || has(self.storage.localStorage.nodeName) || has(self.trainedBy)",message="nodeName is required: name the node whose disk holds the path, for example nodeName: node-1 (kubectl get nodes lists them), or set trainedBy to the workload that writes the files, so that its node is used"
// +kubebuilder:validation:XValidation:rule="!has(self.trainedBy) || (has(oldSelf.trainedBy) && self.trainedBy == oldSelf.trainedBy)",message="trainedBy cannot be added or changed after creation: remove it to build immediately, or create a new ModelVersion that waits for another workload"
// +kubebuilder:validation:XValidation:rule="has(self.storage)",message="storage is required: specify where the model's files are stored, for example storage: {localStorage: {path: /models/resnet/1, nodeName: node-1}}"
// +kubebuilder:validation:XValidation:rule="!has(self.storage) || !has(self.storage.image) || has(self.imageTag)",message="imageTag is required with storage.image: name the tag that holds the image, for example imageTag: v1.0"
// +kubebuilder:validation:XValidation:rule="!has(self.storage) || !has(self.storage.image) || !has(self.trainedBy)",message="trainedBy cannot be set with storage.image: create the ModelVersion when the image has been pushed, without trainedBy"
// +kubebuilder:validation:XValidation:rule="!has(self.storage) || !has(self.storage.image) || !has(self.build) || !(has(self.build.baseImage) || has(self.build.compression) || has(self.build.changeDetection) || has(self.build.include) || has(self.build.exclude) || has(self.build.symlinks) || has(self.build.completenessCheck))",message="storage.image is used as it is: remove baseImage, compression, changeDetection, include, exclude, symlinks and completenessCheck from build"
// +kubebuilder:validation:XValidation:rule="has(self.modelName) == has(oldSelf.modelName) && (!has(self.modelName) || self.modelName == oldSelf.modelName)",message="modelName cannot be changed: create a new ModelVersion for another model"
// +kubebuilder:validation:XValidation:rule="has(self.imageRepo) == has(oldSelf.imageRepo) && (!has(self.imageRepo) || self.imageRepo == oldSelf.imageRepo)",message="imageRepo cannot be changed: create a new ModelVersion to push to another repository"
// +kubebuilder:validation:XValidation:rule="has(self.imageTag) == has(oldSelf.imageTag) && (!has(self.imageTag) || self.imageTag == oldSelf.imageTag)",message="imageTag cannot be added, changed or removed: create a new ModelVersion with the new tag"
// +kubebuilder:validation:XValidation:rule="has(self.storage) == has(oldSelf.storage) && (!has(self.storage) || self.storage == oldSelf.storage)",message="storage cannot be changed: create a new ModelVersion for files that are stored elsewhere"
// +kubebuilder:validation:XValidation:rule="(has(self.build) && has(self.build.modelPath) ? self.build.modelPath : '/kubedl-model') == (has(oldSelf.build) && has(oldSelf.build.modelPath) ? oldSelf.build.modelPath : '/kubedl-model')",message="build.modelPath cannot be added, changed or removed: create a new ModelVersion whose image has the model in another directory"
type ModelVersionSpec struct {
	// modelName is the name of the Model that this is a version of, in the
	// same namespace. The operator creates the Model if it does not exist.
	// Required.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="size(self) <= 63 && self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$') && !self.contains('..') && !self.contains('.-') && !self.contains('-.')",message="modelName is the name of a Model: use lower-case letters, digits, '-' and '.', at most 63 characters, for example resnet-50"
	ModelName string `json:"modelName,omitempty"`

	// createdBy is free text that names the user or the training job that created
	// the model. It becomes a label of the image. Changing it on a ModelVersion
	// whose last attempt failed starts a new attempt.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	CreatedBy string `json:"createdBy,omitempty"`

	// imageRepo is the OCI repository that the image is pushed to, with or
	// without a registry host and port: modelhub/resnet,
	// registry.example.com:5000/team/resnet. Without a host, the operator's
	// default registry is used (Docker Hub unless configured). Required.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^((localhost|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)+|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?:[0-9]{1,5}|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)+:[0-9]{1,5})/)?[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*$')",message="imageRepo must be an OCI repository without tag or scheme: use the form modelhub/resnet or registry.example.com:5000/team/resnet, lower case after the host"
	ImageRepo string `json:"imageRepo,omitempty"`

	// imageTag is the tag of the image. The default is "v" followed by the first
	// five hex digits of the object's UID, for example v1c072, or by more digits
	// if that tag is taken.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$')",message="imageTag is an OCI tag: use letters, digits, '_', '.' and '-', at most 128, not beginning with '.' or '-', for example v1.0, or omit it for an automatic tag"
	ImageTag string `json:"imageTag,omitempty"`

	// storage is where the model's files are stored. Exactly one kind must be set.
	// Required.
	// +optional
	Storage Storage `json:"storage,omitzero"`

	// trainedBy references the workload that writes the files, in the same
	// namespace. The build starts when the workload completes; if it fails, the
	// ModelVersion fails. If a workload of the same name is created again, the
	// build waits for it again. After a build has started, the workload is ignored.
	// Remove this field to build immediately; it cannot be added or changed after
	// creation.
	// +optional
	TrainedBy *Workload `json:"trainedBy,omitempty"`

	// build specifies how to build the image. Every field has a default. Changing
	// it on a ModelVersion whose last attempt failed starts a new attempt.
	// +optional
	Build *Build `json:"build,omitempty"`

	// lineage declares from what the model was made: data, code, base models and the
	// training's parameters and metrics. It can be changed until a build succeeds, and
	// does not change the image.
	// +optional
	Lineage *Lineage `json:"lineage,omitempty"`
}

// Workload references an object that trains a model. Supported kinds are Job
// (batch), JobSet (jobset.x-k8s.io), PyTorchJob and TFJob (kubeflow.org), TrainJob
// (trainer.kubeflow.org), and the kinds that the operator's configuration adds
// (trainingKinds). These five have completed when the condition Complete,
// Completed or Succeeded is True and Failed is not. For other kinds, the operator
// knows the field that tells, or the configuration has an expression. A workload that
// has failed has not completed, whatever else its status says.
//
// +kubebuilder:validation:XValidation:rule="has(self.apiVersion) && has(self.kind) && has(self.name)",message="trainedBy needs apiVersion, kind and name, for example {apiVersion: batch/v1, kind: Job, name: train}"
type Workload struct {
	// apiVersion is the apiVersion of the workload, for example batch/v1. Only the
	// group matters. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[a-z0-9]+$')",message="apiVersion is the apiVersion of the workload, for example batch/v1 or kubeflow.org/v1"
	APIVersion string `json:"apiVersion,omitempty"`
	// kind is the kind of the workload, for example Job. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Z][A-Za-z0-9]*$')",message="kind is the kind of the workload, for example Job or PyTorchJob"
	Kind string `json:"kind,omitempty"`
	// name is the name of the workload, in the ModelVersion's namespace. The
	// workload does not have to exist yet. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="name is the name of the workload: use lower-case letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`
}

// ModelVersion is one version of a trained model and the image that is built from
// it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mv,categories=modelkiln
// +kubebuilder:selectablefield:JSONPath=`.spec.modelName`
// +kubebuilder:selectablefield:JSONPath=`.status.imageBuildPhase`
// +kubebuilder:printcolumn:name="Model",type=string,JSONPath=`.spec.modelName`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.imageBuildPhase`
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.status.image`
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.shortDigest`
// +kubebuilder:printcolumn:name="Created-By",type=string,JSONPath=`.spec.createdBy`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Full-Digest",type=string,JSONPath=`.status.digest`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Workflow",type=string,JSONPath=`.status.workflow.name`,priority=1
// +kubebuilder:printcolumn:name="Size",type=integer,JSONPath=`.status.sizeBytes`,priority=1
// +kubebuilder:printcolumn:name="Finished",type=date,JSONPath=`.status.finishTime`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:validation:XValidation:rule="has(self.spec)",message="spec is required: set modelName, imageRepo and storage"
// +kubebuilder:validation:XValidation:rule="!has(self.status) || !has(self.status.imageBuildPhase) || self.status.imageBuildPhase != 'ImageBuildSucceeded' || !has(self.spec) || !has(oldSelf.spec) || (has(self.spec.lineage) == has(oldSelf.spec.lineage) && (!has(self.spec.lineage) || self.spec.lineage == oldSelf.spec.lineage))",message="lineage cannot be changed after a build has succeeded, because it may be attested: create a new ModelVersion"
type ModelVersion struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec specifies where the model is stored and which image is built from it.
	// Required.
	// +optional
	Spec ModelVersionSpec `json:"spec,omitzero"`
	// status is the observed state of the ModelVersion. Only the operator writes it.
	// +optional
	Status ModelVersionStatus `json:"status,omitempty"`
}

// ModelVersionList is a list of ModelVersions.
//
// +kubebuilder:object:root=true
type ModelVersionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ModelVersion `json:"items"`
}
