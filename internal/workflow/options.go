package workflow

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// History is how many finished Workflows of a ModelVersion are kept.
type History struct {
	// Succeeded and Failed are the limits for Workflows that finished each way.
	Succeeded, Failed int
}

// Options are the settings of builds that the platform team chooses. The operator's
// configuration file has them all; internal/config documents each of them
// to the platform team.
type Options struct {
	// DefaultRegistry is put in front of repositories without a host. Empty
	// stands for Docker Hub.
	DefaultRegistry string
	// PlainHTTPRegistries are the hosts, with ports, that are accessed over plain
	// HTTP.
	PlainHTTPRegistries []string
	// PullHosts maps hosts of registries to the hosts, by which nodes know them, in the
	// references that pods pull. Docker Hub's host is docker.io.
	PullHosts map[string]string
	// BaseImage is the image to which models are added, unless the ModelVersion
	// names one.
	BaseImage string
	// BaseImageMirrors maps registries to where base images are pulled instead: a
	// registry, or a path in one under which it has their repositories.
	BaseImageMirrors map[string]string
	// WorkflowTemplate names the ClusterWorkflowTemplate of builds, unless the
	// ModelVersion names one.
	WorkflowTemplate string
	// NamespaceTemplates names, by namespace, ClusterWorkflowTemplates that
	// replace WorkflowTemplate.
	NamespaceTemplates map[string]string
	// Engine builds the images, unless the ModelVersion names another.
	Engine v1alpha1.BuildEngine
	// StreamTemplate and NamespaceStreamTemplates are the same as
	// WorkflowTemplate and NamespaceTemplates for the engine Stream. Where they
	// are empty, it has no template.
	StreamTemplate           string
	NamespaceStreamTemplates map[string]string
	// LayerSize and MaxLayers control how files are assigned to layers. Zero leaves
	// it to the template.
	LayerSize resource.Quantity
	MaxLayers int
	// ArgoURL is the address of the Argo UI without a slash at its end, or empty
	// when it is not known.
	ArgoURL string
	// ArgoInstanceID is the instance ID of the Argo controller that runs the
	// builds, or empty when it has none.
	ArgoInstanceID string
	// History is how many finished Workflows of a ModelVersion are kept beside
	// the one that it follows.
	History History
	// DeadlineSeconds is how long a build may take, from when Argo starts it,
	// unless the ModelVersion overrides it.
	DeadlineSeconds int64
	// PendingTimeout is how long a build's pod may take to start before the
	// build fails.
	PendingTimeout time.Duration
	// ProgressInterval is the shortest time between two status writes that
	// change nothing but the progress of a build.
	ProgressInterval time.Duration
	// Requests and Limits are the build container's, where the ModelVersion
	// names none.
	Requests, Limits map[corev1.ResourceName]resource.Quantity
	// Pods are settings of all pods that build images.
	Pods Pods
	// TrainingKinds are the kinds of workloads that ModelVersions may wait for.
	TrainingKinds []workload.Kind
	// HostPaths are the rules for which directories of nodes may be packaged.
	HostPaths sourcepolicy.HostPathRules
	// NFS are the rules for which directories of NFS servers may be packaged.
	NFS sourcepolicy.NFSRules
	// EFS are the rules for which AWS Elastic File Systems may be packaged.
	EFS sourcepolicy.EFSRules
	// S3 are the rules for which buckets of object stores may be packaged, and
	// HuggingFace for which repositories of hubs.
	S3          sourcepolicy.S3Rules
	HuggingFace sourcepolicy.HuggingFaceRules
	// CompletenessRequired is true if no ModelVersion may skip the completeness check.
	CompletenessRequired bool
	// FileDigests is whether images list the SHA-256 of their files, unless the
	// ModelVersion says so. The default is Record.
	FileDigests v1alpha1.FileDigests
	// Signing is how images are signed.
	Signing Signing
	// Images are the rules for where models may be pushed, and for base images.
	Images ImageRules
	// Scheduling are the rules for tolerations and node selectors of builds.
	Scheduling SchedulingRules
}

// Signing is how images are signed.
type Signing struct {
	// Required is true if every image must be signed.
	Required bool
	// Formats are the formats of signatures; the template's defaults if empty.
	Formats []v1alpha1.SignatureFormat
	// Attest is what is signed beside the image: the template's defaults if nil, and
	// nothing if it is empty.
	Attest []v1alpha1.Attestation
	// BuilderID is the URI that names the platform; the template's default if empty.
	BuilderID string
}
