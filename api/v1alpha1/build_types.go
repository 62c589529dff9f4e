package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	resource "k8s.io/apimachinery/pkg/api/resource"
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
