package translate

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/internal/hostpath"
)

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
	// DeadlineSeconds is how long a build may take from when Argo starts it, in
	// seconds, unless the version says otherwise.
	DeadlineSeconds int64
	// PendingTimeout is how long a build's pod may take to start before the
	// build fails.
	PendingTimeout metav1.Duration
	// Requests and Limits are the build container's, where the version names
	// none.
	Requests, Limits map[corev1.ResourceName]resource.Quantity
	// HostPaths says which folders of a node may be packaged.
	HostPaths hostpath.Rules
}
