package v1alpha1

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
