// Package config is the operator's configuration: what the platform team
// decides once for all versions. It is read from a YAML file at start.
package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/translate"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Config is the operator's configuration file.
type Config struct {
	// DefaultRegistry is the registry, as host or host:port, that
	// repositories without a host are in. Docker Hub (docker.io) when empty.
	DefaultRegistry string `json:"defaultRegistry,omitempty"`
	// Registries says how to speak to registries that are not public ones.
	Registries []Registry `json:"registries,omitempty"`
	// BaseImage is the image that models are put on, unless the version names
	// one.
	BaseImage string `json:"baseImage,omitempty"`
	// WorkflowTemplate names the ClusterWorkflowTemplate that builds are made
	// from, unless the version names one.
	WorkflowTemplate string `json:"workflowTemplate,omitempty"`
	// Engine is the program that makes the images, unless the version names
	// another: Kaniko or Stream.
	Engine v1alpha1.BuildEngine `json:"engine,omitempty"`
	// LayerSize is the size from which a file has a layer of its own, and that
	// smaller ones are put together to. The default is the template's, 64Mi.
	// A large model of small files, and a registry that limits the number of
	// layers, may want more.
	LayerSize resource.Quantity `json:"layerSize,omitempty"`
	// MaxLayers is the largest number of layers that a model is spread over,
	// whatever LayerSize says. The default is the template's, 100. An image can
	// have 127 with those of its base image.
	MaxLayers int `json:"maxLayers,omitempty"`
	// StreamWorkflowTemplate names the ClusterWorkflowTemplate that the engine
	// Stream's builds are made from. When empty, that is the one of Modelkiln's
	// own, as long as WorkflowTemplate is; beside another WorkflowTemplate, as
	// one that scans, Stream cannot be chosen until one is named here.
	StreamWorkflowTemplate string `json:"streamWorkflowTemplate,omitempty"`
	// NamespaceStreamWorkflowTemplates names, by namespace, those that take its
	// place there. A namespace that is named in NamespaceWorkflowTemplates alone
	// has no Stream.
	NamespaceStreamWorkflowTemplates map[string]string `json:"namespaceStreamWorkflowTemplates,omitempty"`
	// NamespaceWorkflowTemplates names, by namespace, ClusterWorkflowTemplates
	// that take the place of WorkflowTemplate there.
	NamespaceWorkflowTemplates map[string]string `json:"namespaceWorkflowTemplates,omitempty"`
	// TrainingKinds are kinds of workloads that versions may wait for
	// (spec.trainedBy), beside Job, JobSet, PyTorchJob, TFJob and TrainJob. A
	// condition Complete, Completed or Succeeded that is True says that one has
	// completed, and Failed that it failed. The operator needs the rights to get,
	// list and watch them, and to patch those that carry a version's spec.
	TrainingKinds []TrainingKind `json:"trainingKinds,omitempty"`
	// ArgoURL is where people find the Argo UI, as in
	// https://argo.example.com. Versions link to their builds there. No links
	// when empty.
	ArgoURL string `json:"argoURL,omitempty"`
	// ArgoInstanceID is the instanceID of the Argo controller that is to run
	// the builds, where it has one.
	ArgoInstanceID string `json:"argoInstanceID,omitempty"`
	// SucceededHistory and FailedHistory are how many ended Workflows of each
	// kind are kept of a version, beside the one that its status speaks of. A
	// version's result is in its status, and does not need them.
	SucceededHistory int `json:"succeededHistory,omitempty"`
	FailedHistory    int `json:"failedHistory,omitempty"`
	// DeadlineSeconds is how long a build may take from when Argo starts it, in
	// seconds, unless the version says otherwise.
	DeadlineSeconds int64 `json:"deadlineSeconds,omitempty"`
	// PendingSeconds is how long a build's pod may take to start, in seconds:
	// to find a node, its volumes and its images. The build fails after that.
	PendingSeconds int64 `json:"pendingSeconds,omitempty"`
	// Requests are the build container's resource requests: cpu, memory,
	// ephemeral-storage. A version's own go over them.
	Requests map[corev1.ResourceName]resource.Quantity `json:"requests,omitempty"`
	// Limits are the build container's resource limits.
	Limits map[corev1.ResourceName]resource.Quantity `json:"limits,omitempty"`
	// DeniedHostPaths are folders of nodes that are never packaged, in
	// addition to the system folders that never are.
	DeniedHostPaths []string `json:"deniedHostPaths,omitempty"`
	// AllowedHostPaths, when not empty, are the only folders of nodes that
	// may be packaged, with all that lies in them.
	AllowedHostPaths []string `json:"allowedHostPaths,omitempty"`
	// AllowedNFS, when not empty, lists the NFS servers that may be packaged
	// from, as nas.example.com, and folders of servers with all that lies in
	// them, as nas.example.com:/exports/models.
	AllowedNFS []string `json:"allowedNFS,omitempty"`
	// AllowedEFS lists what of AWS EFS may be packaged: file systems, as
	// fs-12345678, with all that lies in them; folders, as fs-12345678:/models,
	// with all that lies in them; and access points, as
	// fs-12345678::fsap-12345678. Nothing may be when it is empty: the operator
	// makes the PersistentVolumes itself, and no Pod Security level bounds
	// those.
	AllowedEFS []string `json:"allowedEFS,omitempty"`
	// AllowedEFSAttributes lists the volume attributes of AWSEfs that versions
	// may set beside path and encryptInTransit, in any case. With mounttargetip
	// a version names whatever NFS server it likes.
	AllowedEFSAttributes []string `json:"allowedEFSAttributes,omitempty"`
	// ServingMount is how pods get the model that they serve: ImageVolume mounts
	// the image itself, which Kubernetes can from 1.35 on, in the API server and
	// on the nodes; InitContainer copies the files with the image's own shell;
	// Auto, the default, is the one or the other by the API server's version.
	ServingMount translate.ServingMount `json:"servingMount,omitempty"`
	// WritableEFS lets training pods write to what AllowedEFS allows. The
	// PersistentVolumes that the operator makes are read-only otherwise, for
	// every pod. Whoever may make pods and versions in a namespace can change all
	// that AllowedEFS allows, then. PersistentVolumes that are there already stay
	// as they are.
	WritableEFS bool `json:"writableEFS,omitempty"`
}

// TrainingKind is a kind of workloads.
type TrainingKind struct {
	// APIVersion is the group and version to watch, as in example.com/v1.
	APIVersion string `json:"apiVersion"`
	// Kind is the kind, as in TrainingRun.
	Kind string `json:"kind"`
}

// Registry says how to speak to one registry.
type Registry struct {
	// Host is the registry's host, with its port if it has one, as image
	// references spell it.
	Host string `json:"host"`
	// PlainHTTP says that the registry does not speak TLS.
	PlainHTTP bool `json:"plainHTTP,omitempty"`
	// CABundle holds the certificates, PEM, of the authorities that sign the
	// registry's certificate, when they are not public ones.
	CABundle string `json:"caBundle,omitempty"`
}

// Default is the configuration where the file says nothing. The resources are
// Kaniko's without its caches (shared with no other step): its memory does not
// depend on the model's size.
func Default() Config {
	return Config{
		BaseImage:        "docker.io/library/busybox:1.37.0",
		WorkflowTemplate: contract.BuildTemplate,
		Engine:           v1alpha1.Kaniko,
		DeadlineSeconds:  6 * 60 * 60,
		PendingSeconds:   15 * 60,
		SucceededHistory: 3,
		FailedHistory:    3,
		ServingMount:     translate.ServingAuto,
		Requests: map[corev1.ResourceName]resource.Quantity{
			corev1.ResourceCPU:    resource.MustParse("500m"),
			corev1.ResourceMemory: resource.MustParse("256Mi"),
		},
		Limits: map[corev1.ResourceName]resource.Quantity{
			corev1.ResourceMemory: resource.MustParse("1Gi"),
		},
	}
}

// Load reads the configuration from a file, over the defaults. An empty name
// gives the defaults. A field that is not known is an error, so that a typing
// mistake is not an unlimited allow-list.
func Load(file string) (Config, error) {
	c := Default()
	if file == "" {
		return c, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if err := yaml.UnmarshalStrict(raw, &c); err != nil {
		return Config{}, fmt.Errorf("parse configuration %s: %w", file, err)
	}
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", file, err)
	}
	return c, nil
}

var hostPattern = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]{1,5})?$`)

// isHost says that an image reference which begins so names this registry: a
// single word in front of a slash would be a user on Docker Hub.
func isHost(host string) bool {
	return hostPattern.MatchString(host) && translate.RegistryHost(host+"/") == host
}

func (r Registry) validate() error {
	var problems []error
	if !isHost(r.Host) {
		problems = append(problems, fmt.Errorf("host %q is not a host: write it as registry.example.com:5000", r.Host))
	}
	if r.PlainHTTP && r.CABundle != "" {
		problems = append(problems, errors.New("plainHTTP and caBundle are both set: a registry without TLS has no certificate"))
	}
	if r.CABundle != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(r.CABundle)) {
		problems = append(problems, errors.New("caBundle holds no certificate: write it in PEM, from -----BEGIN CERTIFICATE----- on"))
	}
	return errors.Join(problems...)
}

func (c Config) validate() error {
	return errors.Join(c.validateRegistries(), c.validateHostPaths(), c.validateShares(), c.validateArgo(), c.validateTrainingKinds(), c.validateServing(), c.validateBounds())
}

func (c Config) validateRegistries() error {
	var problems []error
	if c.DefaultRegistry != "" && !isHost(c.DefaultRegistry) {
		problems = append(problems, fmt.Errorf("defaultRegistry %q is not a host: write it as registry.example.com:5000", c.DefaultRegistry))
	}
	for i, r := range c.Registries {
		if err := r.validate(); err != nil {
			problems = append(problems, fmt.Errorf("registries[%d]: %w", i, err))
		}
	}
	return errors.Join(problems...)
}

func (c Config) validateHostPaths() error {
	var problems []error
	for _, folder := range slices.Concat(c.DeniedHostPaths, c.AllowedHostPaths) {
		if clean := path.Clean("/" + folder); folder != clean {
			problems = append(problems, fmt.Errorf("host path %q is not an absolute, clean path: write it as %s", folder, clean))
		}
	}
	return errors.Join(problems...)
}

func (c Config) validateShares() error {
	var problems []error
	for _, entry := range c.AllowedNFS {
		problems = append(problems, sourcepolicy.CheckNFSEntry(entry))
	}
	for _, entry := range c.AllowedEFS {
		problems = append(problems, sourcepolicy.CheckEFSEntry(entry))
	}
	if slices.Contains(c.AllowedEFSAttributes, "") {
		problems = append(problems, errors.New("allowedEFSAttributes holds an empty name"))
	}
	return errors.Join(problems...)
}

func (c Config) validateArgo() error {
	var problems []error
	if c.BaseImage == "" || c.WorkflowTemplate == "" {
		problems = append(problems, errors.New("baseImage and workflowTemplate must not be empty"))
	}
	if c.Engine != v1alpha1.Kaniko && c.Engine != v1alpha1.Stream {
		problems = append(problems, fmt.Errorf("engine %q is not one: write %s or %s", c.Engine, v1alpha1.Kaniko, v1alpha1.Stream))
	}
	if link, err := url.Parse(c.ArgoURL); c.ArgoURL != "" && (err != nil || link.Host == "" || !strings.HasPrefix(link.Scheme, "http")) {
		problems = append(problems, fmt.Errorf("argoURL %q is not a URL: write it as https://argo.example.com", c.ArgoURL))
	}
	return errors.Join(problems...)
}

func (c Config) validateTrainingKinds() error {
	var problems []error
	for i, kind := range c.TrainingKinds {
		group, err := schema.ParseGroupVersion(kind.APIVersion)
		if err != nil || group.Group == "" || group.Version == "" || kind.Kind == "" {
			problems = append(problems, fmt.Errorf("trainingKinds[%d] is no kind: write it as {apiVersion: example.com/v1, kind: TrainingRun}", i))
		}
	}
	return errors.Join(problems...)
}

func (c Config) validateServing() error {
	ways := []translate.ServingMount{translate.ServingAuto, translate.ServingImageVolume, translate.ServingInitContainer}
	if !slices.Contains(ways, c.ServingMount) {
		return fmt.Errorf("servingMount %q is not known: write one of %v", c.ServingMount, ways)
	}
	return nil
}

func (c Config) validateBounds() error {
	var problems []error
	if c.SucceededHistory < 0 || c.FailedHistory < 0 {
		problems = append(problems, errors.New("succeededHistory and failedHistory must not be below zero"))
	}
	if c.LayerSize.Value() != 0 && c.LayerSize.Value() < layer.MinSize {
		problems = append(problems, fmt.Errorf("layerSize %s is too small: write 1Mi or more", c.LayerSize.String()))
	}
	if c.MaxLayers < 0 || c.MaxLayers >= layer.MaxImageLayers {
		problems = append(problems, fmt.Errorf("maxLayers %d is not from 1 to %d", c.MaxLayers, layer.MaxImageLayers-1))
	}
	if c.DeadlineSeconds <= 0 || c.PendingSeconds <= 0 {
		problems = append(problems, errors.New("deadlineSeconds and pendingSeconds must be above zero"))
	}
	return errors.Join(problems...)
}

// progressInterval keeps a status from being written for every word of a long
// build.
const progressInterval = 10 * time.Second

// Options is the part of the configuration that shapes a build.
func (c Config) Options() translate.Options {
	var plainHTTP []string
	for _, r := range c.Registries {
		if r.PlainHTTP {
			plainHTTP = append(plainHTTP, r.Host)
		}
	}
	slices.Sort(plainHTTP)
	stream := c.StreamWorkflowTemplate
	if stream == "" && c.WorkflowTemplate == contract.BuildTemplate {
		stream = contract.StreamTemplate
	}
	return translate.Options{
		DefaultRegistry:          c.DefaultRegistry,
		PlainHTTPRegistries:      plainHTTP,
		BaseImage:                c.BaseImage,
		WorkflowTemplate:         c.WorkflowTemplate,
		NamespaceTemplates:       c.NamespaceWorkflowTemplates,
		Engine:                   c.Engine,
		StreamTemplate:           stream,
		LayerSize:                c.LayerSize,
		MaxLayers:                c.MaxLayers,
		NamespaceStreamTemplates: c.NamespaceStreamWorkflowTemplates,
		TrainingKinds:            c.trainingKinds(),
		ArgoURL:                  strings.TrimRight(c.ArgoURL, "/"),
		ArgoInstanceID:           c.ArgoInstanceID,
		History:                  translate.History{Succeeded: c.SucceededHistory, Failed: c.FailedHistory},
		DeadlineSeconds:          c.DeadlineSeconds,
		PendingTimeout:           metav1.Duration{Duration: time.Duration(c.PendingSeconds) * time.Second},
		ProgressInterval:         metav1.Duration{Duration: progressInterval},
		Requests:                 c.Requests,
		Limits:                   c.Limits,
		HostPaths:                sourcepolicy.HostPathRules{Denied: c.DeniedHostPaths, Allowed: c.AllowedHostPaths},
		NFS:                      sourcepolicy.NFSRules{Allowed: c.AllowedNFS},
		EFS:                      sourcepolicy.EFSRules{Allowed: c.AllowedEFS, Attributes: c.AllowedEFSAttributes, Writable: c.WritableEFS},
	}
}

// trainingKinds are all kinds that versions may wait for.
func (c Config) trainingKinds() []schema.GroupVersionKind {
	kinds := translate.TrainingKinds()
	for _, kind := range c.TrainingKinds {
		kinds = append(kinds, schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind))
	}
	return kinds
}

// RegistryCA is the certificates of all private registries, PEM, or empty.
func (c Config) RegistryCA() string {
	var bundles []string
	for _, r := range c.Registries {
		if r.CABundle != "" {
			bundles = append(bundles, strings.TrimSpace(r.CABundle)+"\n")
		}
	}
	return strings.Join(bundles, "")
}
