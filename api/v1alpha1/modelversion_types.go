package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ImageBuildPhase is the state of a version's image, in KubeDL's words.
//
// +kubebuilder:validation:Enum=ImageBuilding;ImageBuildFailed;ImageBuildSucceeded
type ImageBuildPhase string

const (
	// ImageBuilding says that a build is waited for or runs.
	ImageBuilding ImageBuildPhase = "ImageBuilding"
	// ImageBuildFailed says that the last attempt failed. A retried or resubmitted
	// Workflow, or a new attempt, can still succeed.
	ImageBuildFailed ImageBuildPhase = "ImageBuildFailed"
	// ImageBuildSucceeded says that the image is in the registry. This is final.
	ImageBuildSucceeded ImageBuildPhase = "ImageBuildSucceeded"
)

// BuildEngine names a program that makes images.
//
// +kubebuilder:validation:Enum=Kaniko;Stream
type BuildEngine string

const (
	// Kaniko copies the model, snapshots it and compresses it. It runs as root,
	// and needs twice the model's size of disk.
	Kaniko BuildEngine = "Kaniko"
	// Stream sends the files from where they lie, uncompressed, in one pass. It
	// is not root, needs no disk, sends only what the latest version does not
	// have, and gives the same files the same layers on whatever machine.
	Stream BuildEngine = "Stream"
)

// ChangeDetection is how it is found out which files an earlier version has.
//
// +kubebuilder:validation:Enum=Content;ModTime
type ChangeDetection string

const (
	// ChangesInContent reads every file.
	ChangesInContent ChangeDetection = "Content"
	// ChangesInModTime does not read files whose path, size, mode and time of
	// the last change are those that the latest version was made from.
	ChangesInModTime ChangeDetection = "ModTime"
)

// Compression is how the layers of an image are compressed.
//
// +kubebuilder:validation:Enum=None;Gzip;Zstd
type Compression string

const (
	// NoCompression leaves the layers as they are.
	NoCompression Compression = "None"
	// Gzip compresses them so that everything can read them.
	Gzip Compression = "Gzip"
	// Zstd compresses them for containerd 1.5, Docker 23 and newer.
	Zstd Compression = "Zstd"
)

// ModelVersionSpec says where a trained model lies and which image it becomes.
// What identifies the version (modelName, imageRepo, imageTag, storage) cannot
// be changed; how it is built (build) and createdBy can.
//
// Required fields are held by rules and not by the schema's "required" list,
// so that the refusal says what to write.
//
// +kubebuilder:validation:XValidation:rule="has(self.modelName)",message="modelName is required: name the Model that this is a version of, as in modelName: resnet"
// +kubebuilder:validation:XValidation:rule="has(self.imageRepo)",message="imageRepo is required: name the repository that the image is pushed to, as in imageRepo: modelhub/resnet"
// +kubebuilder:validation:XValidation:rule="!has(self.storage) || !has(self.storage.localStorage) || has(self.storage.localStorage.nodeName) || has(self.trainedBy)",message="nodeName is required: name the node whose disk holds the path, as in nodeName: node-1 (kubectl get nodes lists them), or name the workload that writes it in trainedBy, whose node is taken then"
// +kubebuilder:validation:XValidation:rule="!has(self.trainedBy) || (has(oldSelf.trainedBy) && self.trainedBy == oldSelf.trainedBy)",message="trainedBy can be taken away, so that the build starts at once, and not be added or changed: create a new ModelVersion that waits for another workload"
// +kubebuilder:validation:XValidation:rule="has(self.storage)",message="storage is required: say where the model's files lie, as in storage: {localStorage: {path: /models/resnet/1, nodeName: node-1}}"
// +kubebuilder:validation:XValidation:rule="has(self.modelName) == has(oldSelf.modelName) && (!has(self.modelName) || self.modelName == oldSelf.modelName)",message="modelName cannot be changed: create a new ModelVersion for another model"
// +kubebuilder:validation:XValidation:rule="has(self.imageRepo) == has(oldSelf.imageRepo) && (!has(self.imageRepo) || self.imageRepo == oldSelf.imageRepo)",message="imageRepo cannot be changed: create a new ModelVersion to push to another repository"
// +kubebuilder:validation:XValidation:rule="has(self.imageTag) == has(oldSelf.imageTag) && (!has(self.imageTag) || self.imageTag == oldSelf.imageTag)",message="imageTag cannot be added, changed or removed: create a new ModelVersion with the tag you want"
// +kubebuilder:validation:XValidation:rule="has(self.storage) == has(oldSelf.storage) && (!has(self.storage) || self.storage == oldSelf.storage)",message="storage cannot be changed: create a new ModelVersion for files in another place"
type ModelVersionSpec struct {
	// modelName is the name of the Model that this is a version of, in the
	// same namespace. Required. The Model is made if there is none.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="size(self) <= 63 && self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$') && !self.contains('..') && !self.contains('.-') && !self.contains('-.')",message="modelName is the name of a Model: use lower-case letters, digits, '-' and '.', at most 63 characters, as in resnet-50"
	ModelName string `json:"modelName,omitempty"`

	// createdBy names the user or the training job that made the model, in
	// free text. It becomes a label of the image, so that changing it on a
	// version whose last attempt failed starts a new attempt.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	CreatedBy string `json:"createdBy,omitempty"`

	// imageRepo is the OCI repository that the image is pushed to, with or
	// without a registry host and port: modelhub/resnet,
	// registry.example.com:5000/team/resnet. Without a host the operator's
	// default registry is used (Docker Hub unless configured). Required.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^((localhost|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)+|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?:[0-9]{1,5}|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)+:[0-9]{1,5})/)?[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*$')",message="imageRepo is an OCI repository without tag or scheme: write it as modelhub/resnet or registry.example.com:5000/team/resnet, lower case after the host"
	ImageRepo string `json:"imageRepo,omitempty"`

	// imageTag is the image's tag. Without it the tag is "v" and the first
	// five hex digits of this object's UID, as in v1c072, or more of them when
	// that tag is taken.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$')",message="imageTag is an OCI tag: use letters, digits, '_', '.' and '-', at most 128, not beginning with '.' or '-', as in v1.0, or leave it out for an automatic one"
	ImageTag string `json:"imageTag,omitempty"`

	// storage is where the model's files lie: exactly one kind. Required.
	// +optional
	Storage Storage `json:"storage,omitzero"`

	// trainedBy names the workload that writes the files, in the same namespace.
	// The build starts when that has completed, and the version fails when it
	// failed; one that is run again under the same name is waited for again. Once
	// a build was started, the workload is not looked at any more. Taken away,
	// the build starts at once; it cannot be added or changed later.
	// +optional
	TrainedBy *Workload `json:"trainedBy,omitempty"`

	// build says how to build the image. Every field has a sensible default.
	// Changing it on a version whose last attempt failed starts a new attempt.
	// +optional
	Build *Build `json:"build,omitempty"`
}

// Workload is an object that trains a model. Known kinds are Job (batch),
// JobSet (jobset.x-k8s.io), PyTorchJob and TFJob (kubeflow.org), TrainJob
// (trainer.kubeflow.org), and what the operator's configuration adds
// (trainingKinds). It has completed when a condition Complete, Completed or
// Succeeded of its status is True, and failed when Failed is.
//
// +kubebuilder:validation:XValidation:rule="has(self.apiVersion) && has(self.kind) && has(self.name)",message="trainedBy needs apiVersion, kind and name, as in {apiVersion: batch/v1, kind: Job, name: train}"
type Workload struct {
	// apiVersion is the workload's, as in batch/v1. Only the group counts.
	// Required.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[a-z0-9]+$')",message="apiVersion is that of the workload, as in batch/v1 or kubeflow.org/v1"
	APIVersion string `json:"apiVersion,omitempty"`
	// kind is the workload's, as in Job. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Z][A-Za-z0-9]*$')",message="kind is that of the workload, as in Job or PyTorchJob"
	Kind string `json:"kind,omitempty"`
	// name is the workload's name, in the version's namespace. It need not exist
	// yet. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="name is the name of the workload: lower-case letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`
}

// Storage is where a model's files lie. Exactly one kind is set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.localStorage) ? 1 : 0) + (has(self.nfs) ? 1 : 0) + (has(self.AWSEfs) ? 1 : 0) + (has(self.persistentVolumeClaim) ? 1 : 0) == 1",message="storage needs exactly one kind: set one of localStorage, nfs, AWSEfs or persistentVolumeClaim"
type Storage struct {
	// localStorage is a folder on a node's own disk.
	// +optional
	LocalStorage *LocalStorage `json:"localStorage,omitempty"`
	// nfs is a folder that an NFS server exports.
	// +optional
	NFS *NFS `json:"nfs,omitempty"`
	// AWSEfs is an AWS Elastic File System, mounted by the CSI driver
	// efs.csi.aws.com.
	// +optional
	AWSEfs *AWSEfs `json:"AWSEfs,omitempty"`
	// persistentVolumeClaim is a claim in the same namespace.
	// +optional
	PersistentVolumeClaim *PersistentVolumeClaim `json:"persistentVolumeClaim,omitempty"`
}

// LocalStorage is a folder on a node's own disk.
//
// +kubebuilder:validation:XValidation:rule="has(self.path)",message="path is required: name the folder on the node, as in path: /models/resnet/1"
type LocalStorage struct {
	// path is the folder on the node, absolute, such as /models/resnet/1.
	// System folders, what lies in them, and what they lie in, are never
	// packaged. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/') && (self == '/' || !self.endsWith('/')) && !self.contains('//') && !self.matches('(^|/)[.]{1,2}(/|$)')",message="path is an absolute path without '..', '.', '//' or a slash at its end: write it as /models/resnet/1"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:]]') && !self.contains('{{') && !self.contains('}}')",message="path holds a line break, a control character or a pair of braces: rename the folder, as in /models/resnet/1"
	Path string `json:"path,omitempty"`
	// nodeName is the node whose disk holds the folder. The build runs there.
	// Required, unless trainedBy is set: then it is the node on which the chief
	// of those pods ran that carry the label model.kubedl.io/train-version with
	// the version's name. That is the master or chief of a PyTorchJob or TFJob,
	// then the worker or index 0, then the only pod. What other pods have written
	// on other nodes is not packaged.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="nodeName is the name of a node as in kubectl get nodes: lower-case letters, digits, '-' and '.'"
	NodeName string `json:"nodeName,omitempty"`
	// mountPath is where training containers find the folder; /kubedl-model
	// when empty. It has no influence on the image.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self == '' || (self.startsWith('/') && !self.contains(':') && !self.matches('(^|/)[.]{2}(/|$)'))",message="mountPath is an absolute path without '..' or ':': write it as /kubedl-model"
	MountPath string `json:"mountPath,omitempty"`
}

// NFS is a folder that an NFS server exports. Builds mount it read-only.
//
// +kubebuilder:validation:XValidation:rule="has(self.server)",message="server is required: name the NFS server, as in server: nas.example.com"
// +kubebuilder:validation:XValidation:rule="has(self.path)",message="path is required: name the folder that the server exports, as in path: /exports/resnet"
type NFS struct {
	// server is the host name or address of the NFS server. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9.:]*[A-Za-z0-9])?$') || self.matches('^[0-9A-Fa-f:]+$')",message="server is a host name or an address, as in nas.example.com or 10.0.0.7"
	Server string `json:"server,omitempty"`
	// path is the exported folder, absolute. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/') && !self.contains('//') && !self.matches('(^|/)[.]{1,2}(/|$)')",message="path is the absolute path that the server exports, without '..': write it as /exports/resnet"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:]]') && !self.contains('{{') && !self.contains('}}')",message="path holds a line break, a control character or a pair of braces: rename the exported folder, as in /exports/resnet"
	Path string `json:"path,omitempty"`
	// mountPath is where training containers find the folder; /kubedl-model
	// when empty. It has no influence on the image.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self == '' || (self.startsWith('/') && !self.contains(':') && !self.matches('(^|/)[.]{2}(/|$)'))",message="mountPath is an absolute path without '..' or ':': write it as /kubedl-model"
	MountPath string `json:"mountPath,omitempty"`
}

// AWSEfs is an AWS Elastic File System. The operator makes a PersistentVolume
// and a claim for it, and deletes them with the version. The platform team has
// to allow it (allowedEFS in the operator's configuration).
//
// +kubebuilder:validation:XValidation:rule="has(self.volumeHandle)",message="volumeHandle is required: name the file system, as in volumeHandle: fs-12345678"
type AWSEfs struct {
	// volumeHandle is the CSI driver's handle:
	// [FileSystemId]:[Subpath]:[AccessPointId], the last two optional.
	// Required.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9-]+(:[^:[:cntrl:]{}]*(:[A-Za-z0-9-]*)?)?$')",message="volumeHandle is written as fs-12345678, fs-12345678:/path or fs-12345678::fsap-12345678"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[:/][.]{2}([:/]|$)')",message="volumeHandle goes up with '..': name the folder itself, as in fs-12345678:/path"
	VolumeHandle string `json:"volumeHandle,omitempty"`
	// attributes are handed to the CSI driver as volume attributes: path, which
	// names the folder where volumeHandle names none, encryptInTransit, and what
	// else the platform team allows.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Attributes map[string]AWSEfsAttribute `json:"attributes,omitempty"`
}

// AWSEfsAttribute is the value of one volume attribute.
//
// +kubebuilder:validation:MaxLength=1024
type AWSEfsAttribute string

// PersistentVolumeClaim is a claim in the version's namespace, or a folder in
// it. Builds mount it read-only.
//
// +kubebuilder:validation:XValidation:rule="has(self.claimName)",message="claimName is required: name the claim that holds the files, as in claimName: models (kubectl get pvc lists them)"
type PersistentVolumeClaim struct {
	// claimName is the name of the claim, in the version's namespace. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="claimName is the name of a PersistentVolumeClaim as in kubectl get pvc: lower-case letters, digits, '-' and '.'"
	ClaimName string `json:"claimName,omitempty"`
	// subPath is the folder within the claim that holds the model, relative;
	// the whole claim when empty. It is never created.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.endsWith('/') && !self.contains('//') && !self.matches('(^|/)[.]{1,2}(/|$)')",message="subPath is a path within the claim, without a slash at its beginning or end and without '..': write it as resnet/1"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:]]') && !self.contains('{{') && !self.contains('}}')",message="subPath holds a line break, a control character or a pair of braces: rename the folder, as in resnet/1"
	SubPath string `json:"subPath,omitempty"`
}

// Build says how to build the image.
type Build struct {
	// engine is the program that makes the image: Kaniko or Stream. The default
	// is the operator's (Kaniko unless configured). An image made by either
	// serves the same pods. Stream reads the files as a user that is not root,
	// so that everyone has to be allowed to read them.
	// +optional
	Engine BuildEngine `json:"engine,omitempty"`
	// compression is how the layers are compressed. The engine Stream has None,
	// the default, since weights hardly compress, and Zstd, which takes about a
	// fifth off bfloat16 weights. Kaniko has Zstd, the default, which is fast,
	// leaves weights about as large as they are, and needs a base image in OCI's
	// format; and Gzip, which is used where the base image is in another, is
	// slower, and takes about a fifth off.
	// +optional
	Compression Compression `json:"compression,omitempty"`
	// changeDetection is how the engine Stream finds out which files the latest
	// version has already: Content, the default, reads and compares every one.
	// ModTime takes a file whose path, size, mode and time of the last change
	// are the same for the same file, and does not read it: choose it only where
	// nothing changes a file and sets its time back, as cp -p and rsync -t can.
	// The first version with ModTime is read, since none before it says what its
	// times were. Kaniko packages everything each time.
	// +optional
	ChangeDetection ChangeDetection `json:"changeDetection,omitempty"`
	// baseImage is what the model's files are put on, as an image reference,
	// or "scratch" for nothing at all. The default is the operator's: a
	// pinned busybox, since serving tools copy the model with a shell.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9]([-a-zA-Z0-9._:/]*[a-zA-Z0-9])?(@sha256:[0-9a-f]{64})?$')",message="baseImage is an image reference, as in registry.example.com/library/busybox:1.37, or the word scratch"
	BaseImage string `json:"baseImage,omitempty"`
	// pushSecretName names a Secret of type kubernetes.io/dockerconfigjson in
	// the version's namespace. Without it the Secret "regcred" is used if it
	// exists, and otherwise the push is anonymous. A Secret that is named here
	// must exist.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="pushSecretName is the name of a Secret as in kubectl get secrets: lower-case letters, digits, '-' and '.'"
	PushSecretName string `json:"pushSecretName,omitempty"`
	// resources are requests and limits of the build container: cpu, memory
	// and ephemeral-storage. What is not set has the operator's default.
	// Kaniko needs twice the model's size of ephemeral storage; its memory
	// does not depend on the model's size.
	// +optional
	Resources *BuildResources `json:"resources,omitempty"`
	// nodeSelector limits the nodes that the build may run on.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$') && self[k].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))",message="nodeSelector holds node labels, as in disktype: ssd"
	NodeSelector map[string]NodeLabelValue `json:"nodeSelector,omitempty"`
	// tolerations let the build run on nodes with these taints.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []Toleration `json:"tolerations,omitempty"`
	// deadlineSeconds is how long a build may take from when Argo starts it, in
	// seconds: waiting for a node or an image counts, waiting for another build
	// of the same image does not. The default is the operator's (six hours
	// unless configured).
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	DeadlineSeconds *int64 `json:"deadlineSeconds,omitempty"`
	// workflowTemplate names the ClusterWorkflowTemplate that the build runs.
	// It has to carry the label model.kubedl.io/build-template: "true", with
	// which the platform team says that versions may name it. The default is
	// the operator's for the namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="workflowTemplate is the name of a ClusterWorkflowTemplate: lower-case letters, digits, '-' and '.'"
	WorkflowTemplate string `json:"workflowTemplate,omitempty"`
}

// NodeLabelValue is the value of a node label.
//
// +kubebuilder:validation:MaxLength=63
type NodeLabelValue string

// BuildResources are requests and limits of the build container.
//
// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || !isQuantity(string(self.requests[k])) || !isQuantity(string(self.limits[k])) || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",message="requests may not be above limits: lower the request or raise the limit"
type BuildResources struct {
	// requests are what the scheduler sets aside.
	// +optional
	// +kubebuilder:validation:MaxProperties=3
	// +kubebuilder:validation:XValidation:rule="self.all(k, k in ['cpu', 'memory', 'ephemeral-storage'])",message="requests may hold cpu, memory and ephemeral-storage: leave out what else is there"
	// +kubebuilder:validation:XValidation:rule="self.all(k, isQuantity(string(self[k])) && !quantity(string(self[k])).isLessThan(quantity('0')))",message="requests holds quantities of zero or more, without spaces: write them as cpu: 500m, memory: 2Gi"
	Requests map[corev1.ResourceName]resource.Quantity `json:"requests,omitempty"`
	// limits are what the container may use.
	// +optional
	// +kubebuilder:validation:MaxProperties=3
	// +kubebuilder:validation:XValidation:rule="self.all(k, k in ['cpu', 'memory', 'ephemeral-storage'])",message="limits may hold cpu, memory and ephemeral-storage: leave out what else is there"
	// +kubebuilder:validation:XValidation:rule="self.all(k, isQuantity(string(self[k])) && !quantity(string(self[k])).isLessThan(quantity('0')))",message="limits holds quantities of zero or more, without spaces: write them as cpu: 500m, memory: 2Gi"
	Limits map[corev1.ResourceName]resource.Quantity `json:"limits,omitempty"`
}

// Toleration lets the build run on nodes with a taint. Its fields mean what
// those of a pod's toleration mean.
//
// +kubebuilder:validation:XValidation:rule="(has(self.key) && size(self.key) > 0) || (has(self.operator) && self.operator == 'Exists')",message="a toleration without a key tolerates every taint: say so with operator: Exists, or name the taint's key"
// +kubebuilder:validation:XValidation:rule="!has(self.value) || size(self.value) == 0 || !has(self.operator) || self.operator != 'Exists'",message="a toleration with operator: Exists has no value: leave the value out, or write operator: Equal"
type Toleration struct {
	// key is the taint's key; empty, with the operator Exists, is every key.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^(([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",message="key is the key of a taint, as in nvidia.com/gpu"
	Key string `json:"key,omitempty"`
	// operator is Equal (the default) or Exists.
	// +optional
	// +kubebuilder:validation:Enum=Equal;Exists
	Operator corev1.TolerationOperator `json:"operator,omitempty"`
	// value is the taint's value; with the operator Exists it is empty.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",message="value is the value of a taint: letters, digits, '-', '_' and '.'"
	Value string `json:"value,omitempty"`
	// effect is the taint's effect; empty is every effect.
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
	Effect corev1.TaintEffect `json:"effect,omitempty"`
}

// ModelVersionStatus is what became of a version.
type ModelVersionStatus struct {
	// conditions are Ready, and while they are true Reconciling and Stalled,
	// as kstatus reads them.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// image is the image as a pod can pull it: repository and tag, with the
	// default registry in front where that is configured. It is set when the
	// first build starts.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`
	// imageBuildPhase is the state of the image in KubeDL's words:
	// ImageBuilding, ImageBuildFailed or ImageBuildSucceeded.
	// +optional
	ImageBuildPhase ImageBuildPhase `json:"imageBuildPhase,omitempty"`
	// message is one sentence on the state, the same as the Ready
	// condition's.
	// +optional
	// +kubebuilder:validation:MaxLength=32768
	Message string `json:"message,omitempty"`
	// digest is the digest of the image's manifest as the registry gives it,
	// "sha256:…". It is set when the version is Ready.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Digest string `json:"digest,omitempty"`
	// shortDigest is the first twelve hex digits of the digest, for lists.
	// +optional
	// +kubebuilder:validation:MaxLength=12
	ShortDigest string `json:"shortDigest,omitempty"`
	// files counts the files that were packaged.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Files int64 `json:"files,omitempty"`
	// sizeBytes is the size of the files that were packaged, in bytes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	SizeBytes int64 `json:"sizeBytes,omitempty"`
	// imageSizeBytes is the size of the image in the registry, compressed and
	// with its base, in bytes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ImageSizeBytes int64 `json:"imageSizeBytes,omitempty"`
	// sentBytes is how much of the model was sent to the registry, in bytes of
	// layers. It is absent where the engine does not tell: Kaniko sends
	// everything.
	// +optional
	// +kubebuilder:validation:Minimum=0
	SentBytes int64 `json:"sentBytes,omitempty"`
	// reusedBytes is how much of the model the registry had already, in bytes of
	// layers.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ReusedBytes int64 `json:"reusedBytes,omitempty"`
	// pullSecretName is the Secret, in the version's namespace, with whose
	// credentials the registry was asked for the image after the push. Pods that
	// serve the version pull with it, or with spec.build.pushSecretName where that
	// is set. Absent when the registry was asked anonymously.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PullSecretName string `json:"pullSecretName,omitempty"`
	// nodeName is the node that the build is bound to, for storage that lies on
	// one node. Where the spec names none it is that of the training's chief, and
	// written while its pod exists.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName,omitempty"`
	// workflow is the attempt that this status speaks of: the newest that was
	// started, resubmitted or retried, or the one that succeeded.
	// +optional
	Workflow *WorkflowStatus `json:"workflow,omitempty"`
	// attempts counts the Workflows that the operator has made for this
	// version. Resubmitted ones do not count.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Attempts int64 `json:"attempts,omitempty"`
	// startTime is when the attempt in workflow began.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// finishTime is when the attempt in workflow ended; absent while it runs.
	// +optional
	FinishTime *metav1.Time `json:"finishTime,omitempty"`
	// observedGeneration is the generation of the spec that this status was
	// computed from.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// WorkflowStatus is one attempt at a build.
type WorkflowStatus struct {
	// name is the name of the Workflow, in the version's namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// uid is the UID of the Workflow.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid,omitempty"`
	// url is where the Argo UI shows the Workflow, where the operator's
	// configuration says where that is.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	URL string `json:"url,omitempty"`
	// phase is the Workflow's phase in Argo's words; empty before Argo has
	// seen it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Phase string `json:"phase,omitempty"`
	// generation is the version's generation whose build settings the attempt
	// was made with.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Generation int64 `json:"generation,omitempty"`
	// rebuild is the value of the rebuild annotation that the attempt answers.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Rebuild string `json:"rebuild,omitempty"`
	// progressPercent is how much of the model the running build has copied into
	// the image, in percent, as Argo's executor reports it, which it does once a
	// minute unless Argo is configured otherwise. To push comes after that.
	// Absent while nothing is known, and when the attempt has ended.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	ProgressPercent *int32 `json:"progressPercent,omitempty"`
	// progressTime is when progressPercent was written. It is written at most
	// every ten seconds.
	// +optional
	ProgressTime *metav1.Time `json:"progressTime,omitempty"`
	// restarts counts how many times in a row an unfinished attempt was
	// deleted and started again.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Restarts int64 `json:"restarts,omitempty"`
}

// ModelVersion is one trained model on its way to an image.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mv,categories=modelkiln
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
// +kubebuilder:validation:XValidation:rule="has(self.spec)",message="spec is required: give modelName, imageRepo and storage"
type ModelVersion struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec says where the model lies and which image it becomes. Required.
	// +optional
	Spec ModelVersionSpec `json:"spec,omitzero"`
	// status is what became of the version. Only the operator writes it.
	// +optional
	Status ModelVersionStatus `json:"status,omitempty"`
}

// ModelVersionList is a list of versions.
//
// +kubebuilder:object:root=true
type ModelVersionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ModelVersion `json:"items"`
}
