package v1alpha1

import (
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
