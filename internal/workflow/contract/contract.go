// Package contract names what the operator, the steps of a build and the
// ClusterWorkflowTemplates agree on: templates, parameters, steps, the output,
// and what a build needs in its namespace. A test reads workflow-templates/ and
// fails when the two disagree.
package contract

import "regexp"

// Templates, their parameters and their output.
const (
	// BuildTemplate is the ClusterWorkflowTemplate for the engine Kaniko.
	BuildTemplate = "modelkiln-build"
	// StreamTemplate is the ClusterWorkflowTemplate for the engine Stream.
	StreamTemplate = "modelkiln-build-stream"
	// PromoteTemplate is the ClusterWorkflowTemplate that moves the registry tags of
	// aliases.
	PromoteTemplate = "modelkiln-promote"
	// EntrypointTemplate is the template with which a build starts.
	EntrypointTemplate = "build"

	// ParamModel is the name of the Model.
	ParamModel = "model"
	// ParamModelVersion is the name of the ModelVersion.
	ParamModelVersion = "model-version"
	// ParamModelVersionUID is the UID of the ModelVersion. An image whose config
	// has it belongs to the ModelVersion.
	ParamModelVersionUID = "model-version-uid"
	// ParamCreatedBy is the creator of the model, URL query-escaped, since it is
	// free text.
	ParamCreatedBy = "created-by"
	// ParamImage is the image reference to push: repository and tag.
	ParamImage = "image"
	// ParamBaseImage is the image to which the model is added, or scratch.
	ParamBaseImage = "base-image"
	// ParamStorageKind is localStorage, nfs, persistentVolumeClaim, s3, huggingFace or
	// image.
	ParamStorageKind = "storage-kind"
	// ParamStoragePath is the directory on the node, for localStorage.
	ParamStoragePath = "storage-path"
	// ParamNodeName is the node to run on; empty is any node.
	ParamNodeName = "node-name"
	// ParamClaimName is the claim, for persistentVolumeClaim.
	ParamClaimName = "claim-name"
	// ParamSubPath is the directory within the claim; empty is the whole claim.
	ParamSubPath = "sub-path"
	// ParamNFSServer is the server, for nfs.
	ParamNFSServer = "nfs-server"
	// ParamNFSPath is the directory that the server exports, for nfs.
	ParamNFSPath = "nfs-path"
	// ParamEndpoint is the URL of the object store or hub, for s3 and huggingFace;
	// empty is Amazon S3 or the Hugging Face hub.
	ParamEndpoint = "endpoint"
	// ParamRegion is the region of the bucket, for s3; empty is to ask for it.
	ParamRegion = "region"
	// ParamBucket is the bucket, for s3.
	ParamBucket = "bucket"
	// ParamPrefix is the prefix of the objects, for s3.
	ParamPrefix = "prefix"
	// ParamRepo is the repository, for huggingFace.
	ParamRepo = "repo"
	// ParamRevision is the branch, tag or commit, for huggingFace; empty is main.
	ParamRevision = "revision"
	// ParamKnownRevision is the commit to which an earlier attempt of the ModelVersion
	// resolved the revision.
	ParamKnownRevision = "known-revision"
	// ParamSourceSecret is the name of the Secret with the credentials for the object
	// store or hub; empty is none.
	ParamSourceSecret = "source-secret"
	// ParamInclude and ParamExclude are patterns of the files that are packaged, and of
	// those that are not, one a line, in the format of a .gitignore file.
	ParamInclude = "include"
	ParamExclude = "exclude"
	// ParamSymlinks is Keep or Follow.
	ParamSymlinks = "symlinks"
	// ParamCompletenessCheck is Enforce or Skip.
	ParamCompletenessCheck = "completeness-check"
	// ParamPushSecret is the name of the Secret with the push credentials.
	ParamPushSecret = "push-secret"
	// ParamPushSecretRequired is "true" when that Secret must exist, and
	// "false" when its absence means an anonymous push.
	ParamPushSecretRequired = "push-secret-required"
	// ParamPlainHTTPRegistries lists the registry hosts that are accessed over
	// plain HTTP, separated by commas.
	ParamPlainHTTPRegistries = "plain-http-registries"
	// ParamRequests are the build container's resource requests, as in
	// cpu=500m,memory=256Mi.
	ParamRequests = "requests"
	// ParamLimits are the build container's resource limits.
	ParamLimits = "limits"
	// ParamNodeSelector holds the required node labels, as in
	// disktype=ssd,zone=a.
	ParamNodeSelector = "node-selector"
	// ParamTolerations holds tolerations in the form in which kubectl taint takes
	// taints: dedicated=models:NoSchedule,gpu:NoExecute. A key without "="
	// tolerates all its values, and an empty effect all effects.
	ParamTolerations = "tolerations"
	// ParamPreviousImage is an image by digest that may hold many of the files
	// already. Only Stream's template has it.
	ParamPreviousImage = "previous-image"
	// ParamCompression is None or Zstd in Stream's template, and Zstd or Gzip in
	// Kaniko's.
	ParamCompression = "compression"
	// ParamChangeDetection is Content or ModTime. Only Stream's template has it.
	ParamChangeDetection = "change-detection"
	// ParamFileDigests is Record or Skip. Only Stream's template has it.
	ParamFileDigests = "file-digests"
	// ParamAssignedUser is "true" if the namespace assigns users to containers, so that
	// the pod must name none. Empty means that it does not. It is only for Stream.
	ParamAssignedUser = "assigned-user"
	// ParamLayerSize is the size from which a file has its own layer and up to which
	// smaller files share a layer, as a quantity.
	ParamLayerSize = "layer-size"
	// ParamMaxLayers is the largest number of layers for a model.
	ParamMaxLayers = "max-layers"
	// ParamKnownDigest is the digest, "sha256:…", that an earlier attempt of the
	// ModelVersion reported. The image with this digest belongs to the ModelVersion.
	ParamKnownDigest = "known-digest"
	// ParamPodLabels are labels of the build's pod, as in team=vision,stage=test.
	ParamPodLabels = "pod-labels"
	// ParamPodAnnotations are annotations of the build's pod, NAME=VALUE, one a line.
	ParamPodAnnotations = "pod-annotations"
	// ParamEnv are environment variables of the steps that access registries,
	// NAME=VALUE, one a line.
	ParamEnv = "env"
	// ParamImagePullSecrets are the names of Secrets for the images of the build's pod,
	// separated by commas.
	ParamImagePullSecrets = "image-pull-secrets"
	// ParamPriorityClassName is the PriorityClass of the build's pod.
	ParamPriorityClassName = "priority-class-name"
	// ParamOtherRequests are the resource requests of each container but build.
	ParamOtherRequests = "other-requests"
	// ParamOtherLimits are the resource limits of each container but build.
	ParamOtherLimits = "other-limits"
	// ParamCreated is when the ModelVersion was created, in the format of RFC 3339. The
	// image has it as the time of its creation, so that tools that look for the newest
	// image of a repository find the newest ModelVersion.
	ParamCreated = "created"
	// ParamModelPath is the directory of the image that holds the model.
	ParamModelPath = "model-path"
	// ParamSigningSecret is the name of the Secret with the key by which the image is
	// signed.
	ParamSigningSecret = "signing-secret"
	// ParamSigningRequired is "true" when that Secret must exist, and "false" when its
	// absence means that nothing is signed.
	ParamSigningRequired = "signing-required"
	// ParamSigningFormats are the formats of the image's signature, separated by commas.
	ParamSigningFormats = "signing-formats"
	// ParamSigningAttest is what is attested beside the image, separated by commas, or
	// AttestNothing.
	ParamSigningAttest = "signing-attest"
	// ParamBuilderID is the URI that names the platform in provenances; empty is that of
	// this project.
	ParamBuilderID = "builder-id"

	// ParamLineage are the facts about the making of the model that are declared or
	// observed: JSON of []v1alpha1.LineageFact, URL query-escaped, since it is free text.
	// Empty is none.
	ParamLineage = "lineage"

	// ParamImageDigest is the digest, "sha256:…", that the tag must hold already, for
	// image.
	ParamImageDigest = "image-digest"

	// ParamDigest is the digest, "sha256:…", of the image to which a tag is moved. Only the
	// template for promotions has it.
	ParamDigest = "digest"

	// OutputReport is the global output parameter with the run's report.
	OutputReport = "report"
)

// The values of ParamStorageKind.
const (
	StorageLocal = "localStorage"
	StorageNFS   = "nfs"
	StorageClaim = "persistentVolumeClaim"
	StorageS3    = "s3"
	StorageHub   = "huggingFace"
	StorageImage = "image"
)

// The steps that the Argo UI shows, in their order, and that of promotions.
const (
	StepMountCheck   = "mount-check"
	StepBuild        = "build"
	StepStatusReport = "status-report"
	StepPromote      = "promote"
)

// Names of what a build needs in its namespace.
const (
	// BuildServiceAccount is the service account that build pods run as.
	BuildServiceAccount = "modelkiln-build"
	// BuildClusterRole is the role that the service account is bound to.
	BuildClusterRole = "modelkiln-build"
	// RegistryCAConfigMap holds, under ca.crt, the certificate authorities of
	// private registries, where some are configured.
	RegistryCAConfigMap = "modelkiln-registry-ca"
	// DefaultPushSecret is the Secret with the push credentials when the spec names
	// none. KubeDL uses it too.
	DefaultPushSecret = "regcred"
	// DefaultSigningSecret is the Secret with the signing key when the spec names none.
	DefaultSigningSecret = "modelkiln-signing"
)

// AttestNothing is the value of ParamSigningAttest for no attestation.
const AttestNothing = "None"

// BuildPodLabels returns the labels of every pod of a build, which the template's
// podMetadata sets. The operator watches only pods with these labels: without
// them it cannot see why a pod does not start.
func BuildPodLabels() map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":      "modelkiln",
		"app.kubernetes.io/component": "build",
	}
}

// MaxPodMetadata is how many labels, and how many annotations, a build's pod can have
// beside those of the template: Argo expands keys and values, but no whole map, so the
// template has a place for each.
const MaxPodMetadata = 8

// reservedMetadata matches keys of labels and annotations of a build's pod that only the
// template and Argo set, since they depend on them. The template has the same pattern.
var reservedMetadata = regexp.MustCompile(ReservedMetadata)

// ReservedMetadata is the pattern of those keys.
const ReservedMetadata = `(argoproj|kubedl)[.]io/|^app[.]kubernetes[.]io/(name|component)$|^kubectl[.]kubernetes[.]io/default-container$`

// IsReservedMetadata reports whether a key of a label or an annotation of a build's pod
// is reserved.
func IsReservedMetadata(key string) bool { return reservedMetadata.MatchString(key) }
