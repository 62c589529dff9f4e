package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ImageBuildPhase is the state of a ModelVersion's image, as KubeDL defined it.
//
// +kubebuilder:validation:Enum=ImageBuilding;ImageBuildFailed;ImageBuildSucceeded
type ImageBuildPhase string

const (
	// ImageBuilding means that a build is pending or running.
	ImageBuilding ImageBuildPhase = "ImageBuilding"
	// ImageBuildFailed means that the last attempt failed. A retried or
	// resubmitted Workflow, or a new attempt, can still succeed.
	ImageBuildFailed ImageBuildPhase = "ImageBuildFailed"
	// ImageBuildSucceeded means that the image is in the registry. This is final.
	ImageBuildSucceeded ImageBuildPhase = "ImageBuildSucceeded"
)

// BuildEngine is the program that builds images.
//
// +kubebuilder:validation:Enum=Kaniko;Stream
type BuildEngine string

const (
	// Kaniko copies the model, snapshots it and compresses it. It runs as root and
	// needs disk space of twice the model's size.
	Kaniko BuildEngine = "Kaniko"
	// Stream uploads the files from where they are stored, uncompressed and in one
	// pass. It does not run as root, needs no disk space, uploads only what the
	// Model's latest image does not have, and builds the same layers from the same
	// files on every machine.
	Stream BuildEngine = "Stream"
)

// ChangeDetection is how the engine Stream detects unchanged files.
//
// +kubebuilder:validation:Enum=Content;ModTime
type ChangeDetection string

const (
	// ChangesInContent reads and compares every file.
	ChangesInContent ChangeDetection = "Content"
	// ChangesInModTime skips files whose path, size, mode and mtime are the same as
	// in the latest image.
	ChangesInModTime ChangeDetection = "ModTime"
)

// Compression is how the layers of an image are compressed.
//
// +kubebuilder:validation:Enum=None;Gzip;Zstd
type Compression string

const (
	// NoCompression leaves the layers uncompressed.
	NoCompression Compression = "None"
	// Gzip works with every container runtime.
	Gzip Compression = "Gzip"
	// Zstd needs containerd 1.5, Docker 23 or newer.
	Zstd Compression = "Zstd"
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

// Storage is where a model's files are stored. Exactly one kind must be set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.localStorage) ? 1 : 0) + (has(self.nfs) ? 1 : 0) + (has(self.AWSEfs) ? 1 : 0) + (has(self.persistentVolumeClaim) ? 1 : 0) + (has(self.s3) ? 1 : 0) + (has(self.huggingFace) ? 1 : 0) + (has(self.image) ? 1 : 0) == 1",message="storage needs exactly one kind: set one of localStorage, nfs, AWSEfs, persistentVolumeClaim, s3, huggingFace or image"
type Storage struct {
	// localStorage is a directory on the disk of a node.
	// +optional
	LocalStorage *LocalStorage `json:"localStorage,omitempty"`
	// nfs is a directory that an NFS server exports.
	// +optional
	NFS *NFS `json:"nfs,omitempty"`
	// AWSEfs is an AWS Elastic File System, mounted by the CSI driver
	// efs.csi.aws.com.
	// +optional
	AWSEfs *AWSEfs `json:"AWSEfs,omitempty"`
	// persistentVolumeClaim is a PersistentVolumeClaim in the same namespace.
	// +optional
	PersistentVolumeClaim *PersistentVolumeClaim `json:"persistentVolumeClaim,omitempty"`
	// s3 is a prefix of a bucket in Amazon S3, or in an object store with the same API.
	// +optional
	S3 *S3 `json:"s3,omitempty"`
	// huggingFace is a model repository of the Hugging Face hub, or of a hub with the
	// same API.
	// +optional
	HuggingFace *HuggingFace `json:"huggingFace,omitempty"`
	// image is an image of the model that the registry has already, at imageRepo and
	// imageTag.
	// +optional
	Image *Image `json:"image,omitempty"`
}

// LocalStorage is a directory on the disk of a node.
//
// +kubebuilder:validation:XValidation:rule="has(self.path)",message="path is required: name the directory on the node, for example path: /models/resnet/1"
type LocalStorage struct {
	// path is the absolute path of the directory on the node, for example
	// /models/resnet/1. System directories, their contents, and their parents are
	// never packaged. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/') && (self == '/' || !self.endsWith('/')) && !self.contains('//') && !self.matches('(^|/)[.]{1,2}(/|$)')",message="path must be absolute, without '..', '.', '//' or a trailing slash, for example /models/resnet/1"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:]]') && !self.contains('{{') && !self.contains('}}')",message="path must not contain a line break, a control character, '{{' or '}}': rename the directory, for example to /models/resnet/1"
	Path string `json:"path,omitempty"`
	// nodeName is the node whose disk holds the directory. The build runs there.
	// Required, unless trainedBy is set. In that case it defaults to the node of
	// the chief among the pods whose label model.kubedl.io/train-version has the
	// name of the ModelVersion. The chief is the master or chief of a PyTorchJob
	// or TFJob; otherwise the worker, or the completion index, 0; otherwise the
	// only pod. Files that other pods wrote on other nodes are not packaged.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="nodeName is the name of a node (kubectl get nodes lists them): use lower-case letters, digits, '-' and '.'"
	NodeName string `json:"nodeName,omitempty"`
	// mountPath is the path at which training containers find the directory. The
	// default is /kubedl-model. It does not affect the image.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self == '' || (self.startsWith('/') && !self.contains(':') && !self.matches('(^|/)[.]{2}(/|$)'))",message="mountPath must be an absolute path without '..' or ':', for example /kubedl-model"
	MountPath string `json:"mountPath,omitempty"`
}

// NFS is a directory that an NFS server exports. Builds mount it read-only.
//
// +kubebuilder:validation:XValidation:rule="has(self.server)",message="server is required: name the NFS server, for example server: nas.example.com"
// +kubebuilder:validation:XValidation:rule="has(self.path)",message="path is required: name the directory that the server exports, for example path: /exports/resnet"
type NFS struct {
	// server is the host name or address of the NFS server. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9.:]*[A-Za-z0-9])?$') || self.matches('^[0-9A-Fa-f:]+$')",message="server must be a host name or an IP address, for example nas.example.com or 10.0.0.7"
	Server string `json:"server,omitempty"`
	// path is the absolute path of the exported directory. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/') && !self.contains('//') && !self.matches('(^|/)[.]{1,2}(/|$)')",message="path must be the absolute path that the server exports, without '..', for example /exports/resnet"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:]]') && !self.contains('{{') && !self.contains('}}')",message="path must not contain a line break, a control character, '{{' or '}}': rename the exported directory, for example to /exports/resnet"
	Path string `json:"path,omitempty"`
	// mountPath is the path at which training containers find the directory. The
	// default is /kubedl-model. It does not affect the image.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self == '' || (self.startsWith('/') && !self.contains(':') && !self.matches('(^|/)[.]{2}(/|$)'))",message="mountPath must be an absolute path without '..' or ':', for example /kubedl-model"
	MountPath string `json:"mountPath,omitempty"`
}

// AWSEfs is an AWS Elastic File System. The operator creates a PersistentVolume
// and a claim for it, and deletes both with the ModelVersion. The platform team
// has to allow it (allowedEFS in the operator's configuration).
//
// +kubebuilder:validation:XValidation:rule="has(self.volumeHandle)",message="volumeHandle is required: name the file system, for example volumeHandle: fs-12345678"
type AWSEfs struct {
	// volumeHandle is the volume handle of the CSI driver:
	// [FileSystemId]:[Subpath]:[AccessPointId]. The last two parts are optional.
	// Required.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9-]+(:[^:[:cntrl:]{}]*(:[A-Za-z0-9-]*)?)?$')",message="volumeHandle must have the form fs-12345678, fs-12345678:/path or fs-12345678::fsap-12345678"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[:/][.]{2}([:/]|$)')",message="volumeHandle must not contain '..': name the directory itself, for example fs-12345678:/path"
	VolumeHandle string `json:"volumeHandle,omitempty"`
	// attributes are passed to the CSI driver as volume attributes: path, which
	// names the directory if volumeHandle does not, encryptInTransit, and those
	// that the platform team allows.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Attributes map[string]AWSEfsAttribute `json:"attributes,omitempty"`
}

// AWSEfsAttribute is the value of one volume attribute.
//
// +kubebuilder:validation:MaxLength=1024
type AWSEfsAttribute string

// PersistentVolumeClaim is a claim in the ModelVersion's namespace, or a directory
// in it. Builds mount it read-only.
//
// +kubebuilder:validation:XValidation:rule="has(self.claimName)",message="claimName is required: name the claim that holds the files, for example claimName: models (kubectl get pvc lists them)"
type PersistentVolumeClaim struct {
	// claimName is the name of the claim, in the ModelVersion's namespace.
	// Required.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="claimName is the name of a PersistentVolumeClaim (kubectl get pvc lists them): use lower-case letters, digits, '-' and '.'"
	ClaimName string `json:"claimName,omitempty"`
	// subPath is the relative path of the directory in the claim that holds the
	// model. The default is the root of the claim. Builds never create it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.endsWith('/') && !self.contains('//') && !self.matches('(^|/)[.]{1,2}(/|$)')",message="subPath must be a path in the claim, without a leading or trailing slash and without '..', for example resnet/1"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:]]') && !self.contains('{{') && !self.contains('}}')",message="subPath must not contain a line break, a control character, '{{' or '}}': rename the directory, for example to resnet/1"
	SubPath string `json:"subPath,omitempty"`
}

// S3 is a prefix of a bucket in Amazon S3, or in an object store with the same API:
// MinIO, Ceph, Cloudflare R2, Google Cloud Storage. Builds read the objects without
// storing them on a disk. The platform team has to allow the bucket (allowedS3 in the
// operator's configuration). Training pods cannot mount it.
//
// +kubebuilder:validation:XValidation:rule="has(self.bucket)",message="bucket is required: name the bucket that holds the files, for example bucket: models"
// +kubebuilder:validation:XValidation:rule="has(self.prefix)",message="prefix is required: name the prefix of the model's objects in the bucket, for example prefix: llama/3.1-8b"
type S3 struct {
	// endpoint is the URL of the object store. The default is Amazon S3,
	// https://s3.amazonaws.com.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?$')",message="endpoint must be the URL of a server without a path, for example https://minio.example.com:9000"
	Endpoint string `json:"endpoint,omitempty"`
	// region is the region of the bucket, for example eu-west-1. By default, builds ask
	// the object store for it.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$')",message="region is the region of the bucket: use letters, digits and '-', for example eu-west-1"
	Region string `json:"region,omitempty"`
	// bucket is the name of the bucket. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?$') && !self.contains('..')",message="bucket is the name of a bucket: use letters, digits, '-', '_' and '.', for example models"
	Bucket string `json:"bucket,omitempty"`
	// prefix is the prefix of the model's objects: the objects below it are the model's
	// files, with the rest of their keys as paths. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.endsWith('/') && !self.contains('//') && !self.matches('(^|/)[.]{1,2}(/|$)') && size(self) > 0",message="prefix must not begin or end with '/' and must not contain '//' or '..', for example llama/3.1-8b"
	// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:]]') && !self.contains('{{') && !self.contains('}}')",message="prefix must not contain a line break, a control character, '{{' or '}}': copy the objects to another prefix"
	Prefix string `json:"prefix,omitempty"`
	// credentialsSecretName is the name of a Secret in the ModelVersion's namespace with
	// the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN if the
	// credentials are temporary. Without it, the objects are read by the identity of the
	// service account modelkiln-build if the cloud gives it one, and anonymously
	// otherwise.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="credentialsSecretName is the name of a Secret (kubectl get secrets lists them): use lower-case letters, digits, '-' and '.'"
	CredentialsSecretName string `json:"credentialsSecretName,omitempty"`
}

// HuggingFace is a model repository of the Hugging Face hub, or of a hub with the same
// API. Builds read the files without storing them on a disk. The platform team has to
// allow the repository (allowedHuggingFace in the operator's configuration). Training
// pods cannot mount it.
//
// +kubebuilder:validation:XValidation:rule="has(self.repo)",message="repo is required: name the repository with its organization, for example repo: mistralai/Mistral-7B-v0.3"
type HuggingFace struct {
	// repo is the name of the repository, with its organization or user. Required.
	// +optional
	// +kubebuilder:validation:MaxLength=193
	// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9][-A-Za-z0-9._]{0,95}/)?[A-Za-z0-9][-A-Za-z0-9._]{0,95}$') && !self.contains('..') && !self.contains('--')",message="repo is the name of a repository, for example mistralai/Mistral-7B-v0.3"
	Repo string `json:"repo,omitempty"`
	// revision is a branch, a tag or a commit. The default is main. The first attempt
	// resolves it to a commit, which status.source.revision has, and all attempts build
	// from that commit.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_][-A-Za-z0-9._/]*$') && !self.contains('..') && !self.contains('//') && !self.endsWith('/')",message="revision is a branch, a tag or a commit: use letters, digits, '-', '.', '_' and '/', for example main"
	Revision string `json:"revision,omitempty"`
	// endpoint is the URL of the hub. The default is https://huggingface.co.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?$')",message="endpoint must be the URL of a server without a path, for example https://hub.example.com"
	Endpoint string `json:"endpoint,omitempty"`
	// tokenSecretName is the name of a Secret in the ModelVersion's namespace whose key
	// token is an access token of the hub. It is needed for private and gated
	// repositories.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="tokenSecretName is the name of a Secret (kubectl get secrets lists them): use lower-case letters, digits, '-' and '.'"
	TokenSecretName string `json:"tokenSecretName,omitempty"`
}

// Image is an image of the model that the registry has already: one that was packaged
// by another cluster, in a pipeline or on a workstation. spec.imageRepo and
// spec.imageTag, which is required then, name it. Nothing is packaged or pushed: the
// build verifies that the tag has the digest and that the image has the model in its
// directory. Training pods cannot mount it.
//
// +kubebuilder:validation:XValidation:rule="has(self.digest)",message="digest is required: name the digest of the image that the tag holds, which crane digest IMAGE prints"
type Image struct {
	// digest is the digest of the image's manifest, or of the index of images for several
	// platforms, in the form "sha256:…". Required.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^sha256:[0-9a-f]{64}$')",message="digest must be sha256: and 64 hexadecimal digits in lower case, which crane digest IMAGE prints"
	Digest string `json:"digest,omitempty"`
}

// Symlinks is what happens to symbolic links among the model's files.
//
// +kubebuilder:validation:Enum=Keep;Follow
type Symlinks string

const (
	// KeepSymlinks packages a link as a link. It must lead to a packaged file.
	KeepSymlinks Symlinks = "Keep"
	// FollowSymlinks packages what a link leads to, within the same volume.
	FollowSymlinks Symlinks = "Follow"
)

// CompletenessCheck is whether an incomplete model fails the build.
//
// +kubebuilder:validation:Enum=Enforce;Skip
type CompletenessCheck string

const (
	// EnforceCompleteness fails the build if the files' headers and indexes show that
	// a file is missing or truncated.
	EnforceCompleteness CompletenessCheck = "Enforce"
	// SkipCompleteness packages the files as they are.
	SkipCompleteness CompletenessCheck = "Skip"
)

// FileDigests is whether the image lists the SHA-256 of every file.
//
// +kubebuilder:validation:Enum=Record;Skip
type FileDigests string

const (
	// RecordFileDigests lists them.
	RecordFileDigests FileDigests = "Record"
	// SkipFileDigests lists none, which takes less time of a processor.
	SkipFileDigests FileDigests = "Skip"
)

// SignatureFormat is a format in which the registry has the signature of an image.
//
// +kubebuilder:validation:Enum=Bundle;Tag
type SignatureFormat string

const (
	// BundleSignature is a bundle of Sigstore that refers to the image, as cosign stores
	// it since version 3.
	BundleSignature SignatureFormat = "Bundle"
	// TagSignature is an image at the tag sha256-….sig, which admission controllers read
	// that know no bundles.
	TagSignature SignatureFormat = "Tag"
)

// Attestation is what is signed beside the image.
//
// +kubebuilder:validation:Enum=Provenance;Files;Training
type Attestation string

const (
	// ProvenanceAttestation is SLSA's provenance: how the image was built.
	ProvenanceAttestation Attestation = "Provenance"
	// FilesAttestation is a signature over the files in the format of OpenSSF Model
	// Signing.
	FilesAttestation Attestation = "Files"
	// TrainingAttestation is SLSA's provenance of the training: from what the model was
	// made, as far as that is declared, observed or stated by its files. It comes with
	// Provenance.
	TrainingAttestation Attestation = "Training"
)

// FilePattern is a pattern in the format of a line in a .gitignore file.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="!self.matches('[[:cntrl:]]') && !self.contains('{{') && !self.contains('}}')",message="a pattern must not contain a line break, a control character, '{{' or '}}': match the character with '?'"
type FilePattern string

// Build specifies how to build the image.
//
// +kubebuilder:validation:XValidation:rule="!has(self.engine) || !has(self.compression) || self.engine != 'Stream' || self.compression != 'Gzip'",message="the engine Stream does not support the compression Gzip: set compression to None or Zstd, or remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.engine) || !has(self.compression) || self.engine != 'Kaniko' || self.compression != 'None'",message="the engine Kaniko does not support the compression None: set compression to Zstd or Gzip, or remove it"
type Build struct {
	// engine is the program that builds the image: Kaniko or Stream. The default
	// comes from the operator's configuration (Kaniko unless configured). Images of
	// both engines can be served in the same ways. Stream does not run as root, so
	// all users must be allowed to read the files.
	// +optional
	Engine BuildEngine `json:"engine,omitempty"`
	// compression is how the layers are compressed. Stream supports None (default;
	// weights hardly compress) and Zstd (about 20% smaller for bfloat16 weights).
	// Kaniko supports Zstd (default; fast, hardly smaller) and Gzip (slower, about 20%
	// smaller).
	// +optional
	Compression Compression `json:"compression,omitempty"`
	// changeDetection is how the engine Stream detects files that the Model's
	// latest image already has. Content (default) reads and compares every file.
	// ModTime skips files whose path, size, mode and mtime are unchanged. Use
	// ModTime only if nothing rewrites files while preserving mtime (cp -p,
	// rsync -t). The first ModelVersion with ModTime is read completely, because
	// earlier images have no record of the times. Kaniko always packages all
	// files.
	// +optional
	ChangeDetection ChangeDetection `json:"changeDetection,omitempty"`
	// baseImage is the reference of the image to which the model's files are added,
	// or "scratch" for an empty base. The default comes from the operator's
	// configuration: a pinned busybox, because serving tools copy the model with a
	// shell.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^((localhost|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)+|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?:[0-9]{1,5}|[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)+:[0-9]{1,5})/)?[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$')",message="baseImage must be an image reference without scheme, lower case after the host, for example registry.example.com/library/busybox:1.37, or scratch"
	BaseImage string `json:"baseImage,omitempty"`
	// modelPath is the directory of the image that holds the model's files, for clients
	// that follow no link, for example /models for the storage initializer of KServe.
	// The image then has a link to it at /kubedl-model, so that KUBEDL_MODEL_PATH and
	// everything else keep working. The default is /kubedl-model, with a link to it at
	// /models unless the base image has something there. It cannot be changed after
	// creation.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$')",message="modelPath must be an absolute path of letters, digits, '_', '.' and '-', without a trailing slash and without names that begin with '.' or '-', for example /models"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^/(argo|bin|boot|busybox|dev|etc|kaniko|kiln|lib|lib32|lib64|libx32|proc|push-secret|registry-ca|root|run|sbin|source|source-secret|sys|tmp|usr|var)(/|$)')",message="modelPath must not be in a directory of the system or of the build: choose another one, for example /models"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/kubedl-model/')",message="modelPath must not be in /kubedl-model, which becomes a link to it: choose another directory, for example /models"
	ModelPath string `json:"modelPath,omitempty"`
	// include are patterns of the files that are packaged, in the format of a .gitignore
	// file: "*.safetensors" matches in all directories, "/config.json" at the top only.
	// The default is all files.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Include []FilePattern `json:"include,omitempty"`
	// exclude are patterns of files and directories that are not packaged, in the format
	// of a .gitignore file, for example ".git/" and "checkpoint-*/". They are added to
	// those in a file .modelkilnignore at the top of the model's files.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Exclude []FilePattern `json:"exclude,omitempty"`
	// symlinks is what happens to symbolic links: Keep (default) packages them as links,
	// and Follow packages the files and directories to which they lead, which have to be
	// on the same volume, as those in the cache of Hugging Face.
	// +optional
	Symlinks Symlinks `json:"symlinks,omitempty"`
	// completenessCheck is whether a model of which files seem to be missing or
	// truncated fails the build: Enforce (default) or Skip. Skip is for a format that the
	// check takes for another. The operator's configuration may forbid it. Files that a
	// program is still writing fail the build in any case.
	// +optional
	CompletenessCheck CompletenessCheck `json:"completenessCheck,omitempty"`
	// fileDigests is whether the image lists the SHA-256 of every file, by which anyone
	// can verify them after a pull: Record or Skip. Without them, the files are not
	// signed one by one. The default comes from the operator's configuration (Record
	// unless configured). The engine Kaniko always lists them.
	// +optional
	FileDigests FileDigests `json:"fileDigests,omitempty"`
	// pushSecretName is the name of a Secret of type
	// kubernetes.io/dockerconfigjson in the ModelVersion's namespace. If it is set,
	// the Secret must exist. If it is not set, the Secret "regcred" is used if it
	// exists; otherwise the push is anonymous.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="pushSecretName is the name of a Secret (kubectl get secrets lists them): use lower-case letters, digits, '-' and '.'"
	PushSecretName string `json:"pushSecretName,omitempty"`
	// signingSecretName is the name of a Secret in the ModelVersion's namespace with the
	// key by which the image is signed: one that "cosign generate-key-pair" creates, or
	// one whose tls.key is an ECDSA key on the curve P-256 in PKCS #8. If it is set, the
	// Secret must exist. If it is not set, the Secret "modelkiln-signing" is used if it
	// exists; otherwise the image is not signed, unless the operator's configuration
	// requires it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="signingSecretName is the name of a Secret (kubectl get secrets lists them): use lower-case letters, digits, '-' and '.'"
	SigningSecretName string `json:"signingSecretName,omitempty"`
	// resources are the requests and limits of the build container: cpu, memory
	// and ephemeral-storage. Values that are not set default to the operator's
	// configuration. Kaniko needs ephemeral storage of twice the model's size; its
	// memory usage does not depend on the model's size.
	// +optional
	Resources *BuildResources `json:"resources,omitempty"`
	// nodeSelector restricts the nodes on which the build can run.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$') && self[k].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))",message="nodeSelector must contain node labels, for example disktype: ssd"
	NodeSelector map[string]NodeLabelValue `json:"nodeSelector,omitempty"`
	// tolerations allow the build to run on nodes with matching taints.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []Toleration `json:"tolerations,omitempty"`
	// deadlineSeconds is the maximum duration of a build in seconds, measured from
	// when Argo starts it. Waiting for a node or an image counts; waiting for
	// another build of the same image does not. The default comes from the
	// operator's configuration (six hours unless configured).
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	DeadlineSeconds *int64 `json:"deadlineSeconds,omitempty"`
	// workflowTemplate is the name of the ClusterWorkflowTemplate that the build
	// runs. The template must have the label
	// model.kubedl.io/build-template: "true", with which the platform team allows
	// ModelVersions to name it. The default comes from the operator's configuration
	// for the namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="workflowTemplate is the name of a ClusterWorkflowTemplate: use lower-case letters, digits, '-' and '.'"
	WorkflowTemplate string `json:"workflowTemplate,omitempty"`
}

// NodeLabelValue is the value of a node label.
//
// +kubebuilder:validation:MaxLength=63
type NodeLabelValue string

// BuildResources are the resource requests and limits of the build container.
//
// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || !isQuantity(string(self.requests[k])) || !isQuantity(string(self.limits[k])) || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",message="requests must not exceed limits: lower the request or raise the limit"
type BuildResources struct {
	// requests are the resources that the scheduler reserves.
	// +optional
	// +kubebuilder:validation:MaxProperties=3
	// +kubebuilder:validation:XValidation:rule="self.all(k, k in ['cpu', 'memory', 'ephemeral-storage'])",message="requests supports only cpu, memory and ephemeral-storage: remove other resources"
	// +kubebuilder:validation:XValidation:rule="self.all(k, isQuantity(string(self[k])) && !quantity(string(self[k])).isLessThan(quantity('0')))",message="requests must be quantities of zero or more, without spaces, for example cpu: 500m, memory: 2Gi"
	Requests map[corev1.ResourceName]resource.Quantity `json:"requests,omitempty"`
	// limits are the maximum resources that the container can use.
	// +optional
	// +kubebuilder:validation:MaxProperties=3
	// +kubebuilder:validation:XValidation:rule="self.all(k, k in ['cpu', 'memory', 'ephemeral-storage'])",message="limits supports only cpu, memory and ephemeral-storage: remove other resources"
	// +kubebuilder:validation:XValidation:rule="self.all(k, isQuantity(string(self[k])) && !quantity(string(self[k])).isLessThan(quantity('0')))",message="limits must be quantities of zero or more, without spaces, for example cpu: 500m, memory: 2Gi"
	Limits map[corev1.ResourceName]resource.Quantity `json:"limits,omitempty"`
}

// Toleration allows the build to run on nodes with a taint. Its fields have the
// same meaning as those of a pod's toleration.
//
// +kubebuilder:validation:XValidation:rule="(has(self.key) && size(self.key) > 0) || (has(self.operator) && self.operator == 'Exists')",message="a toleration without a key tolerates every taint: set operator: Exists, or set key to the key of the taint"
// +kubebuilder:validation:XValidation:rule="!has(self.value) || size(self.value) == 0 || !has(self.operator) || self.operator != 'Exists'",message="a toleration with operator: Exists must not have a value: remove the value, or set operator: Equal"
type Toleration struct {
	// key is the key of the taint. An empty key with the operator Exists matches
	// every taint.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^(([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",message="key is the key of a taint, for example nvidia.com/gpu"
	Key string `json:"key,omitempty"`
	// operator is Equal (the default) or Exists.
	// +optional
	// +kubebuilder:validation:Enum=Equal;Exists
	Operator corev1.TolerationOperator `json:"operator,omitempty"`
	// value is the value of the taint. It must be empty with the operator Exists.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",message="value is the value of a taint: use letters, digits, '-', '_' and '.'"
	Value string `json:"value,omitempty"`
	// effect is the effect of the taint. An empty effect matches every effect.
	// +optional
	// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
	Effect corev1.TaintEffect `json:"effect,omitempty"`
}

// ModelVersionStatus is the observed state of a ModelVersion.
type ModelVersionStatus struct {
	// conditions are Ready and, while they are True, Reconciling and Stalled. They
	// follow kstatus.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// image is the image as a pod can pull it: repository and tag, including the
	// default registry if one is configured, and with the registry's pullHost if it
	// has one. It is set when the first build starts.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`
	// pushedImage is the reference to which builds push the image. It is set if the
	// operator's configuration has a pullHost for the registry, so that pods pull the
	// image by another reference.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	PushedImage string `json:"pushedImage,omitempty"`
	// imageBuildPhase is the state of the image, as KubeDL defined it:
	// ImageBuilding, ImageBuildFailed or ImageBuildSucceeded.
	// +optional
	ImageBuildPhase ImageBuildPhase `json:"imageBuildPhase,omitempty"`
	// message describes the state. It is the message of the condition Ready.
	// +optional
	// +kubebuilder:validation:MaxLength=32768
	Message string `json:"message,omitempty"`
	// digest is the digest of the image's manifest in the registry, or of the index of
	// images for several platforms, in the form "sha256:…". It is set when the
	// ModelVersion is Ready.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Digest string `json:"digest,omitempty"`
	// shortDigest is the first twelve hex digits of the digest, for the output of
	// kubectl get.
	// +optional
	// +kubebuilder:validation:MaxLength=12
	ShortDigest string `json:"shortDigest,omitempty"`
	// files is the number of files that were packaged.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Files int64 `json:"files,omitempty"`
	// sizeBytes is the total size of the files that were packaged, in bytes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	SizeBytes int64 `json:"sizeBytes,omitempty"`
	// imageSizeBytes is the size of the image in the registry, in bytes: compressed
	// and including the base image. Of an index, it is that of one platform's image.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ImageSizeBytes int64 `json:"imageSizeBytes,omitempty"`
	// sentBytes is the size of the model's layers that were uploaded to the
	// registry, in bytes. Kaniko uploads everything.
	// +optional
	// +kubebuilder:validation:Minimum=0
	SentBytes int64 `json:"sentBytes,omitempty"`
	// reusedBytes is the size of the model's layers that the registry already had,
	// in bytes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ReusedBytes int64 `json:"reusedBytes,omitempty"`
	// source identifies the content from which the image is built, for storage that is
	// not mounted.
	// +optional
	Source *SourceStatus `json:"source,omitempty"`
	// pullSecretName is the Secret in the ModelVersion's namespace whose credentials
	// were used to verify the image after the push. Pods that serve the
	// ModelVersion pull with it, or with spec.build.pushSecretName if that is set.
	// It is absent if the image was verified anonymously.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PullSecretName string `json:"pullSecretName,omitempty"`
	// signature is how the image was signed; absent if it was not.
	// +optional
	Signature *SignatureStatus `json:"signature,omitempty"`
	// lineage is from what the model was made: what was declared, observed and read from
	// its files.
	// +optional
	Lineage *LineageStatus `json:"lineage,omitempty"`
	// nodeName is the node on which the build has to run, for storage on the disk of
	// a node. If the spec does not name it, it is the node of the training's chief,
	// recorded while the chief's pod exists.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName,omitempty"`
	// createdByUser is the authenticated user who created the ModelVersion; for one
	// that was created from a workload, the operator. It is copied once from the
	// annotation model.kubedl.io/created-by-user, and absent if the webhook was
	// unavailable. spec.createdBy, in contrast, is free text.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	CreatedByUser string `json:"createdByUser,omitempty"`
	// workflow is the attempt that this status describes: the one that was started,
	// resubmitted or retried last, or the one that succeeded.
	// +optional
	Workflow *WorkflowStatus `json:"workflow,omitempty"`
	// attempts is the number of Workflows that the operator created for this
	// ModelVersion. Resubmitted Workflows do not count.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Attempts int64 `json:"attempts,omitempty"`
	// modelUID is the UID of the Model that owns the ModelVersion, or once owned it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ModelUID string `json:"modelUID,omitempty"`
	// trained is true if the training had completed when the ModelVersion was created
	// from its workload. The build does not wait for the workload again.
	// +optional
	Trained bool `json:"trained,omitempty"`
	// latestAttemptTime is when the newest Workflow was created that the ModelVersion has
	// followed, by the clock of the API server. Every Workflow that was created later is
	// a newer attempt, whatever the clocks of Argo say.
	// +optional
	LatestAttemptTime *metav1.Time `json:"latestAttemptTime,omitempty"`
	// startTime is when the attempt in workflow started.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// finishTime is when the attempt in workflow finished, or, without an attempt,
	// when the ModelVersion failed. It is absent while the attempt is running.
	// +optional
	FinishTime *metav1.Time `json:"finishTime,omitempty"`
	// observedGeneration is the generation of the spec that this status was
	// computed from.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// SourceStatus identifies the content of storage that is not mounted.
type SourceStatus struct {
	// revision is the commit to which spec.storage.huggingFace.revision was resolved by
	// the first attempt. All attempts build from it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Revision string `json:"revision,omitempty"`
	// digest is a digest of the names, sizes and identities of the files, "sha256:…", as
	// the storage reported them when the image was built. The same files in the same
	// place have the same digest.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Digest string `json:"digest,omitempty"`
}

// SignatureStatus describes how an image was signed.
type SignatureStatus struct {
	// secretName is the Secret with the key, in the ModelVersion's namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
	// keyID identifies the key: the SHA-256 of the public key in DER, "sha256:…".
	// +optional
	// +kubebuilder:validation:MaxLength=256
	KeyID string `json:"keyID,omitempty"`
	// formats are the formats in which the registry has the signature of the image.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Formats []SignatureFormat `json:"formats,omitempty"`
	// attestations are what else was signed and is in the registry.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Attestations []Attestation `json:"attestations,omitempty"`
	// bundle is the signature of the image with status.digest, as a bundle of Sigstore in
	// JSON. Anyone who has the public key can verify it without access to the registry.
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	Bundle string `json:"bundle,omitempty"`
}

// WorkflowStatus describes one attempt to build the image.
type WorkflowStatus struct {
	// name is the name of the Workflow, in the ModelVersion's namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// uid is the UID of the Workflow.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid,omitempty"`
	// url is the URL of the Workflow in the Argo UI. It is set if the operator's
	// configuration has the URL of the Argo UI.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	URL string `json:"url,omitempty"`
	// phase is the phase of the Workflow as Argo reports it. It is empty until Argo
	// has observed the Workflow.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Phase string `json:"phase,omitempty"`
	// generation is the generation of the ModelVersion whose build settings the
	// attempt uses.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Generation int64 `json:"generation,omitempty"`
	// rebuild is the value of the rebuild annotation that requested the attempt.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Rebuild string `json:"rebuild,omitempty"`
	// progressPercent is the percentage of the model that the running build has
	// copied into the image. Argo's executor reports it once a minute unless Argo is
	// configured otherwise. The push follows after that. It is absent while no
	// progress is known and after the attempt has finished.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	ProgressPercent *int32 `json:"progressPercent,omitempty"`
	// progressTime is when progressPercent was updated last, which happens at most
	// every ten seconds.
	// +optional
	ProgressTime *metav1.Time `json:"progressTime,omitempty"`
	// queuedUntil is when the scheduling gates of the attempt's pod were removed, if it
	// had some and has not started. The time that the pod may take to start begins
	// then.
	// +optional
	QueuedUntil *metav1.Time `json:"queuedUntil,omitempty"`
	// restarts is the number of consecutive times that an unfinished attempt was
	// deleted and started again.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Restarts int64 `json:"restarts,omitempty"`
	// buildHash identifies the ClusterWorkflowTemplate of the attempt and those of
	// its arguments that decide what the image holds beside the model's files, for
	// example the base image. A Workflow with another template or other such
	// arguments is followed only if the spec and the operator's configuration ask
	// for them.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	BuildHash string `json:"buildHash,omitempty"`
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
