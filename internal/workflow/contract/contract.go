// Package contract names what the operator, the steps of a build and the
// ClusterWorkflowTemplates agree on: templates, parameters, steps, the output,
// and what a build needs in its namespace. A test reads workflow-templates/ and
// fails when the two disagree.
package contract

// Templates, their parameters and their output.
const (
	// BuildTemplate is the ClusterWorkflowTemplate in workflow-templates/.
	BuildTemplate = "modelkiln-build"
	// StreamTemplate is the one beside it, for the engine Stream.
	StreamTemplate = "modelkiln-build-stream"
	// EntrypointTemplate is the template that a build starts with.
	EntrypointTemplate = "build"

	// ParamModel is the name of the Model.
	ParamModel = "model"
	// ParamModelVersion is the name of the ModelVersion.
	ParamModelVersion = "model-version"
	// ParamModelVersionUID is the UID of the ModelVersion. An image whose
	// config carries it belongs to the version.
	ParamModelVersionUID = "model-version-uid"
	// ParamCreatedBy is who made the model, URL query-escaped, since it is
	// free text.
	ParamCreatedBy = "created-by"
	// ParamImage is the image reference to push: repository and tag.
	ParamImage = "image"
	// ParamBaseImage is the image that the model is put on, or scratch.
	ParamBaseImage = "base-image"
	// ParamStorageKind is localStorage, nfs or persistentVolumeClaim.
	ParamStorageKind = "storage-kind"
	// ParamStoragePath is the folder on the node, for localStorage.
	ParamStoragePath = "storage-path"
	// ParamNodeName is the node to run on; empty is any.
	ParamNodeName = "node-name"
	// ParamClaimName is the claim, for persistentVolumeClaim.
	ParamClaimName = "claim-name"
	// ParamSubPath is the folder within the claim; empty is the whole claim.
	ParamSubPath = "sub-path"
	// ParamNFSServer is the server, for nfs.
	ParamNFSServer = "nfs-server"
	// ParamNFSPath is the folder that the server exports, for nfs.
	ParamNFSPath = "nfs-path"
	// ParamPushSecret is the name of the Secret with the push credentials.
	ParamPushSecret = "push-secret"
	// ParamPushSecretRequired is "true" when that Secret must exist, and
	// "false" when its absence means an anonymous push.
	ParamPushSecretRequired = "push-secret-required"
	// ParamPlainHTTPRegistries lists the registry hosts that are spoken to in
	// plain HTTP, separated by commas.
	ParamPlainHTTPRegistries = "plain-http-registries"
	// ParamRequests are the build container's resource requests, as in
	// cpu=500m,memory=256Mi.
	ParamRequests = "requests"
	// ParamLimits are the build container's resource limits.
	ParamLimits = "limits"
	// ParamNodeSelector holds the node labels that are asked for, as in
	// disktype=ssd,zone=a.
	ParamNodeSelector = "node-selector"
	// ParamTolerations holds tolerations as kubectl taint writes taints:
	// dedicated=models:NoSchedule,gpu:NoExecute. A key without "=" tolerates
	// every value of it, no effect every effect.
	ParamTolerations = "tolerations"
	// ParamPreviousImage is an image by digest that may have many of the files
	// already. Only Stream's template has it.
	ParamPreviousImage = "previous-image"
	// ParamCompression is None or Zstd in Stream's template, and Zstd or Gzip in
	// Kaniko's.
	ParamCompression = "compression"
	// ParamChangeDetection is Content or ModTime. Only Stream's template has it.
	ParamChangeDetection = "change-detection"
	// ParamLayerSize is the size from which a file has a layer of its own, and
	// that smaller ones are put together to, as a quantity.
	ParamLayerSize = "layer-size"
	// ParamMaxLayers is the largest number of layers for a model.
	ParamMaxLayers = "max-layers"

	// OutputReport is the global output parameter with the run's report.
	OutputReport = "report"
)

// The values of ParamStorageKind.
const (
	StorageLocal = "localStorage"
	StorageNFS   = "nfs"
	StorageClaim = "persistentVolumeClaim"
)

// The steps that a person sees in the Argo UI, in their order.
const (
	StepMountCheck   = "mount-check"
	StepBuild        = "build"
	StepStatusReport = "status-report"
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
	// DefaultPushSecret is the Secret that push credentials are read from when
	// the spec names none. KubeDL uses it too.
	DefaultPushSecret = "regcred"
)

// BuildPodLabels are on every pod of a build, by the template's podMetadata.
// The operator looks at pods with these labels only: without them it does not
// see why a pod does not start.
func BuildPodLabels() map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":      "modelkiln",
		"app.kubernetes.io/component": "build",
	}
}
