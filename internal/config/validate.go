package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

func (r Registry) validate() error {
	var problems []error
	if !workflow.IsRegistryHost(r.Host) {
		problems = append(problems, fmt.Errorf("host %q is not a registry host: use the form registry.example.com:5000", r.Host))
	}
	if r.PlainHTTP && r.CABundle != "" {
		problems = append(problems, errors.New("plainHTTP and caBundle are both set: a registry without TLS has no certificate"))
	}
	if r.CABundle != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(r.CABundle)) {
		problems = append(problems, errors.New("caBundle contains no certificate: use PEM, starting with -----BEGIN CERTIFICATE-----"))
	}
	if r.PullHost != "" && (!workflow.IsRegistryHost(r.PullHost) || r.PullHost == r.Host) {
		problems = append(problems, fmt.Errorf("pullHost %q is not another registry host: use the form localhost:30500, or remove it if nodes pull from host", r.PullHost))
	}
	return errors.Join(problems...)
}

func (c Config) validate() error {
	return errors.Join(c.validateNamespaces(), c.validateRegistries(), c.validateHostPaths(), c.validateShares(), c.validateImages(), c.validateScheduling(), c.validateArgo(), c.validateTrainingKinds(), c.validateServing(), c.Signing.validate(), c.Verification.validate(), c.validateLimits(), c.BuildPods.validate())
}

func (c Config) validateNamespaces() error {
	var problems []error
	for _, name := range c.Namespaces {
		if len(validation.IsDNS1123Label(name)) > 0 {
			problems = append(problems, fmt.Errorf("namespaces contains %q, which is not the name of a namespace", name))
		}
	}
	return errors.Join(problems...)
}

func (c Config) validateRegistries() error {
	var problems []error
	if c.DefaultRegistry != "" && !workflow.IsRegistryHost(c.DefaultRegistry) {
		problems = append(problems, fmt.Errorf("defaultRegistry %q is not a registry host: use the form registry.example.com:5000", c.DefaultRegistry))
	}
	for i, r := range c.Registries {
		if err := r.validate(); err != nil {
			problems = append(problems, fmt.Errorf("registries[%d]: %w", i, err))
		}
		differs := func(other Registry) bool {
			return other.Host == r.Host && other.PullHost != "" && other.PullHost != r.PullHost
		}
		if r.PullHost != "" && slices.ContainsFunc(c.Registries[:i], differs) {
			problems = append(problems, fmt.Errorf("registries[%d]: host %q has another pullHost above: nodes pull from one host only", i, r.Host))
		}
	}
	return errors.Join(problems...)
}

func (c Config) validateHostPaths() error {
	var problems []error
	for _, dir := range slices.Concat(c.DeniedHostPaths, c.AllowedHostPaths) {
		if clean := path.Clean("/" + dir); dir != clean {
			problems = append(problems, fmt.Errorf("host path %q is not an absolute path without detours: use %s", dir, clean))
		}
	}
	return errors.Join(problems...)
}

func (c Config) validateShares() error {
	var problems []error
	for _, entry := range c.AllowedNFS {
		problems = append(problems, sourcepolicy.CheckNFSEntry(entry))
	}
	for _, entry := range slices.Concat(c.AllowedS3, c.AllowedHuggingFace) {
		problems = append(problems, sourcepolicy.CheckRemoteEntry(entry))
	}
	for _, entry := range c.AllowedEFS {
		problems = append(problems, sourcepolicy.CheckEFSEntry(entry))
	}
	if slices.Contains(c.AllowedEFSAttributes, "") {
		problems = append(problems, errors.New("allowedEFSAttributes contains an empty name"))
	}
	return errors.Join(problems...)
}

// imagePattern is what the schema of ModelVersions requires of a base image.
var imagePattern = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9._:/]*[a-zA-Z0-9])?(@sha256:[0-9a-f]{64})?$`)

func (c Config) validateImages() error {
	var problems []error
	if c.BaseImage != "" && !imagePattern.MatchString(c.BaseImage) {
		problems = append(problems, fmt.Errorf("baseImage %q is not an image reference: use the form registry.example.com/library/busybox:1.37, or scratch", c.BaseImage))
	}
	for _, host := range slices.Sorted(maps.Keys(c.BaseImageMirrors)) {
		if mirror := c.BaseImageMirrors[host]; !workflow.IsRegistryHost(host) || workflow.CheckRepoEntry(mirror) != nil {
			problems = append(problems, fmt.Errorf("baseImageMirrors: %q does not map a registry to another one: use the form docker.io: registry.example.com/dockerhub", host+": "+mirror))
		}
	}
	for _, entry := range c.AllowedImageRepos {
		problems = append(problems, workflow.CheckRepoEntry(entry))
	}
	for _, entry := range c.AllowedBaseImages {
		problems = append(problems, workflow.CheckBaseImageEntry(entry))
	}
	return errors.Join(problems...)
}

func (c Config) validateScheduling() error {
	return errors.Join(validateKeys("allowedTolerations", c.AllowedTolerations), validateKeys("allowedNodeSelectors", c.AllowedNodeSelectors))
}

func validateKeys(field string, keys []string) error {
	var problems []error
	for _, key := range keys {
		if len(validation.IsQualifiedName(key)) > 0 {
			problems = append(problems, fmt.Errorf("%s contains %q, which is not a key: use the form nvidia.com/gpu", field, key))
		}
	}
	return errors.Join(problems...)
}

func (c Config) validateArgo() error {
	var problems []error
	if c.BaseImage == "" || c.WorkflowTemplate == "" {
		problems = append(problems, errors.New("baseImage and workflowTemplate must not be empty"))
	}
	if c.Engine != v1alpha1.Kaniko && c.Engine != v1alpha1.Stream {
		problems = append(problems, fmt.Errorf("engine %q is not supported: use %s or %s", c.Engine, v1alpha1.Kaniko, v1alpha1.Stream))
	}
	if !slices.Contains([]v1alpha1.FileDigests{"", v1alpha1.RecordFileDigests, v1alpha1.SkipFileDigests}, c.FileDigests) {
		problems = append(problems, fmt.Errorf("fileDigests %q is not supported: use %s or %s", c.FileDigests, v1alpha1.RecordFileDigests, v1alpha1.SkipFileDigests))
	}
	if link, err := url.Parse(c.ArgoURL); c.ArgoURL != "" && (err != nil || link.Host == "" || !strings.HasPrefix(link.Scheme, "http")) {
		problems = append(problems, fmt.Errorf("argoURL %q is not a URL: use the form https://argo.example.com", c.ArgoURL))
	}
	return errors.Join(problems...)
}

func (c Config) validateTrainingKinds() error {
	var problems []error
	seen := map[schema.GroupKind]bool{}
	for i, training := range c.TrainingKinds {
		kind := training.kind()
		switch {
		case kind.Group == "" || kind.Version == "" || kind.Kind == "":
			problems = append(problems, fmt.Errorf("trainingKinds[%d] needs an apiVersion with a group, and a kind, for example {apiVersion: ray.io/v1, kind: RayJob}", i))
		case seen[kind.GroupKind()]:
			problems = append(problems, fmt.Errorf("trainingKinds[%d] repeats the kind %s of %s: keep one version of it", i, kind.Kind, kind.Group))
		case kind.Completed == nil && !kind.IsKnown():
			problems = append(problems, fmt.Errorf("trainingKinds[%d]: it is not known how a %s of %s completes and fails. Add CEL expressions to the entry, for example completed: 'status.conditions.exists(c, c.type == \"Succeeded\" && c.status == \"True\")' and failed: 'status.conditions.exists(c, c.type == \"Failed\" && c.status == \"True\")'", i, kind.Kind, kind.Group))
		}
		seen[kind.GroupKind()] = true
	}
	return errors.Join(problems...)
}

func (c Config) validateServing() error {
	modes := []inject.ServingMount{inject.ServingAuto, inject.ServingImageVolume, inject.ServingInitContainer}
	if !slices.Contains(modes, c.ServingMount) {
		return fmt.Errorf("servingMount %q is not supported: use one of %v", c.ServingMount, modes)
	}
	return nil
}

func (c Config) validateLimits() error {
	var problems []error
	if c.SuccessfulWorkflowsHistoryLimit < 0 || c.FailedWorkflowsHistoryLimit < 0 {
		problems = append(problems, errors.New("successfulWorkflowsHistoryLimit and failedWorkflowsHistoryLimit must be zero or more"))
	}
	if c.LayerSize.Value() != 0 && c.LayerSize.Value() < layer.MinSize {
		problems = append(problems, fmt.Errorf("layerSize %s is too small: use 1Mi or more", c.LayerSize.String()))
	}
	if c.MaxLayers < 0 || c.MaxLayers >= layer.MaxImageLayers {
		problems = append(problems, fmt.Errorf("maxLayers %d must be from 1 to %d", c.MaxLayers, layer.MaxImageLayers-1))
	}
	problems = append(problems, checkRequests("requests", c.Requests, "limits", c.Limits), c.checkDiskLimits())
	if c.DeadlineSeconds <= 0 || c.PendingSeconds <= 0 {
		problems = append(problems, errors.New("deadlineSeconds and pendingSeconds must be greater than zero"))
	}
	return errors.Join(problems...)
}

// checkDiskLimits returns an error for a limit of ephemeral storage of all containers
// except build. Kubelet evicts a pod that uses more than the sum of such limits,
// whichever of its containers uses it (podEphemeralStorageLimitEviction in Kubernetes
// 1.35), so the limit would be that of what Kaniko stores.
func (c Config) checkDiskLimits() error {
	_, others := c.BuildPods.OtherLimits[corev1.ResourceEphemeralStorage]
	_, build := c.Limits[corev1.ResourceEphemeralStorage]
	if others && !build {
		return errors.New("buildPods.otherLimits.ephemeral-storage is set, and limits.ephemeral-storage is not: kubelet evicts a pod that uses more disk than the sum of its limits, so set limits.ephemeral-storage too, to twice the size of the largest model")
	}
	return nil
}
