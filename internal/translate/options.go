package translate

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
)

// History is how many ended Workflows are kept.
type History struct {
	// Succeeded and Failed count those that ended in each way.
	Succeeded, Failed int
}

// Options are the platform team's choices that shape a build.
type Options struct {
	// DefaultRegistry is put in front of repositories without a host. Docker
	// Hub when empty.
	DefaultRegistry string
	// PlainHTTPRegistries are the hosts (with port) that are spoken to in
	// plain HTTP.
	PlainHTTPRegistries []string
	// BaseImage is the image that models are put on, unless the version names
	// one.
	BaseImage string
	// WorkflowTemplate names the ClusterWorkflowTemplate that builds are made
	// from, unless the version names one.
	WorkflowTemplate string
	// NamespaceTemplates names, by namespace, those that take its place.
	NamespaceTemplates map[string]string
	// Engine makes the images, unless the version names another.
	Engine v1alpha1.BuildEngine
	// StreamTemplate and NamespaceStreamTemplates are the same for the engine
	// Stream. There is none for it where they are empty.
	StreamTemplate           string
	NamespaceStreamTemplates map[string]string
	// LayerSize and MaxLayers say how models are spread over layers. Where they
	// are zero, the template does.
	LayerSize resource.Quantity
	MaxLayers int
	// ArgoURL is where people find the Argo UI, without a slash at its end;
	// empty when that is not known.
	ArgoURL string
	// ArgoInstanceID is the instance ID of the Argo controller that is to run
	// the builds; empty for one that has none.
	ArgoInstanceID string
	// History is how many ended Workflows are kept of a version, beside the
	// one that it follows.
	History History
	// DeadlineSeconds is how long a build may take from when Argo starts it, in
	// seconds, unless the version says otherwise.
	DeadlineSeconds int64
	// PendingTimeout is how long a build's pod may take to start before the
	// build fails.
	PendingTimeout metav1.Duration
	// ProgressInterval is how often a status is written, at most, for nothing but
	// how far a build is.
	ProgressInterval metav1.Duration
	// Requests and Limits are the build container's, where the version names
	// none.
	Requests, Limits map[corev1.ResourceName]resource.Quantity
	// TrainingKinds are the kinds of workloads that versions may wait for.
	TrainingKinds []schema.GroupVersionKind
	// HostPaths says which folders of a node may be packaged.
	HostPaths sourcepolicy.HostPathRules
	// NFS says which folders of NFS servers may be packaged.
	NFS sourcepolicy.NFSRules
	// EFS says which AWS Elastic File Systems may be packaged.
	EFS sourcepolicy.EFSRules
}
