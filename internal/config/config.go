// Package config reads the operator's configuration: what the platform team
// decides for all ModelVersions. It is a YAML file that is read at start.
package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// Config is the operator's configuration file. deploy/README.md documents it with
// a table that is generated from these comments.
type Config struct {
	// namespaces lists the only namespaces whose ModelVersions the operator builds. It
	// then needs no permissions in others. All if empty.
	Namespaces []string `json:"namespaces,omitempty"`
	// defaultRegistry is the registry, as host or host:port, of repositories
	// without a host. Docker Hub (docker.io) if empty.
	DefaultRegistry string `json:"defaultRegistry,omitempty"`
	// registries configures access to registries. Each entry has a host, with its port if
	// it has one, and plainHTTP, caBundle or pullHost.
	Registries []Registry `json:"registries,omitempty"`
	// baseImage is the image to which models are added, unless the ModelVersion
	// sets spec.build.baseImage.
	BaseImage string `json:"baseImage,omitempty"`
	// baseImageMirrors maps registries to mirrors from which builds pull base images
	// instead, for example docker.io to registry.example.com/dockerhub: the mirror has
	// docker.io/library/busybox as registry.example.com/dockerhub/library/busybox. Builds
	// do not use the mirrors that nodes are configured with. Applies to baseImage and to
	// spec.build.baseImage, whatever allowedBaseImages lists.
	BaseImageMirrors map[string]string `json:"baseImageMirrors,omitempty"`
	// workflowTemplate is the name of the ClusterWorkflowTemplate that builds run,
	// unless the ModelVersion sets spec.build.workflowTemplate.
	WorkflowTemplate string `json:"workflowTemplate,omitempty"`
	// namespaceWorkflowTemplates maps namespaces to the names of
	// ClusterWorkflowTemplates that replace workflowTemplate there.
	NamespaceWorkflowTemplates map[string]string `json:"namespaceWorkflowTemplates,omitempty"`
	// engine is the program that builds images, unless the ModelVersion sets
	// spec.build.engine: Kaniko or Stream.
	Engine v1alpha1.BuildEngine `json:"engine,omitempty"`
	// streamWorkflowTemplate is the name of the ClusterWorkflowTemplate of the
	// engine Stream. If it is empty and workflowTemplate has its default,
	// modelkiln-build-stream is used. If it is empty and workflowTemplate names a
	// custom template, for example one that scans images, Stream is not available,
	// so that nobody can bypass that template.
	StreamWorkflowTemplate string `json:"streamWorkflowTemplate,omitempty"`
	// namespaceStreamWorkflowTemplates maps namespaces to the names of
	// ClusterWorkflowTemplates that replace streamWorkflowTemplate there. A
	// namespace that is only in namespaceWorkflowTemplates has no Stream.
	NamespaceStreamWorkflowTemplates map[string]string `json:"namespaceStreamWorkflowTemplates,omitempty"`
	// layerSize is the size from which a file has its own layer, and up to
	// which smaller files share a layer. The template's default is 64Mi. Raise it
	// for large models of small files, or for a registry that limits the number of
	// layers.
	LayerSize resource.Quantity `json:"layerSize,omitempty"`
	// maxLayers is the maximum number of layers of a model, regardless of layerSize.
	// The template's default is 100. An image has at most 127 layers including those
	// of its base image.
	MaxLayers int `json:"maxLayers,omitempty"`
	// requests are the resource requests of the build container: cpu, memory and
	// ephemeral-storage. spec.build.resources overrides them.
	Requests map[corev1.ResourceName]resource.Quantity `json:"requests,omitempty"`
	// limits are the resource limits of the build container. spec.build.resources
	// overrides them.
	Limits map[corev1.ResourceName]resource.Quantity `json:"limits,omitempty"`
	// buildPods configures the pods that build images.
	BuildPods BuildPods `json:"buildPods,omitzero"`
	// deadlineSeconds is the maximum duration of a build in seconds, measured from
	// when Argo starts it, unless the ModelVersion sets
	// spec.build.deadlineSeconds.
	DeadlineSeconds int64 `json:"deadlineSeconds,omitempty"`
	// pendingSeconds is how long the pod of a build may take to start, in seconds:
	// to be scheduled, to mount its volumes and to pull its images. The build fails
	// after that. The time in which the pod has scheduling gates, as those of Kueue,
	// does not count. It is measured by the operator's clock, and begins again when the
	// operator restarts.
	PendingSeconds int64 `json:"pendingSeconds,omitempty"`
	// successfulWorkflowsHistoryLimit is the number of succeeded Workflows to keep
	// per ModelVersion, in addition to the one that its status names. The status
	// has the result and does not need them.
	SuccessfulWorkflowsHistoryLimit int `json:"successfulWorkflowsHistoryLimit,omitempty"`
	// failedWorkflowsHistoryLimit is the number of failed Workflows to keep per
	// ModelVersion, in addition to the one that its status names.
	FailedWorkflowsHistoryLimit int `json:"failedWorkflowsHistoryLimit,omitempty"`
	// argoURL is the URL of the Argo UI, for example https://argo.example.com. The
	// status of ModelVersions links to their builds there. No links if empty.
	ArgoURL string `json:"argoURL,omitempty"`
	// argoInstanceID is the instanceID of the Argo controller that runs the builds,
	// if it has one.
	ArgoInstanceID string `json:"argoInstanceID,omitempty"`
	// allowedImageRepos lists where models may be pushed: registries, for example
	// registry.example.com, and repositories including those below them, for example
	// registry.example.com/team-a. Those of Docker Hub begin with docker.io/. All if
	// empty.
	AllowedImageRepos []string `json:"allowedImageRepos,omitempty"`
	// allowedBaseImages lists which images spec.build.baseImage may name, in addition
	// to baseImage and scratch: registries, repositories including those below them,
	// and single images with a tag or a digest, for example
	// docker.io/library/busybox:1.37.0. All if empty.
	AllowedBaseImages []string `json:"allowedBaseImages,omitempty"`
	// allowedTolerations lists the keys of taints that spec.build.tolerations may
	// tolerate. A toleration without a key, which matches every taint, is not allowed
	// then. All if empty.
	AllowedTolerations []string `json:"allowedTolerations,omitempty"`
	// allowedNodeSelectors lists the keys of node labels that spec.build.nodeSelector
	// may name. All if empty.
	AllowedNodeSelectors []string `json:"allowedNodeSelectors,omitempty"`
	// deniedHostPaths are directories of nodes that are never packaged, in addition
	// to the system directories.
	DeniedHostPaths []string `json:"deniedHostPaths,omitempty"`
	// allowedHostPaths are the only directories of nodes that may be packaged,
	// including their subdirectories. All except system directories if empty.
	AllowedHostPaths []string `json:"allowedHostPaths,omitempty"`
	// allowedNFS lists the NFS servers from which models may be packaged, for
	// example nas.example.com, and directories of servers including their
	// subdirectories, for example nas.example.com:/exports/models. All if empty.
	AllowedNFS []string `json:"allowedNFS,omitempty"`
	// allowedS3 lists the object stores from which models may be packaged, for example
	// minio.example.com:9000, their buckets, for example s3.amazonaws.com/models, and
	// prefixes of buckets, for example s3.amazonaws.com/models/team-a. An entry that
	// begins with http:// allows plain HTTP. None if empty, because a build would
	// otherwise send requests to any address that a user writes.
	AllowedS3 []string `json:"allowedS3,omitempty"`
	// allowedHuggingFace lists the hubs from which models may be packaged, for example
	// huggingface.co, their organizations, for example huggingface.co/mistralai, and
	// repositories, for example huggingface.co/mistralai/Mistral-7B-v0.3. A hub may
	// redirect downloads to all hosts of the list, and huggingface.co to its own storage.
	// An entry that begins with http:// allows plain HTTP. None if empty.
	AllowedHuggingFace []string `json:"allowedHuggingFace,omitempty"`
	// fileDigests is whether images list the SHA-256 of every file, unless the
	// ModelVersion sets spec.build.fileDigests: Record or Skip. Record if empty. The
	// engine Kaniko always lists them.
	FileDigests v1alpha1.FileDigests `json:"fileDigests,omitempty"`
	// signing is how images are signed: required (false: images of namespaces without a
	// signing key are not signed), formats (Bundle and Tag), attest (Provenance and Files,
	// beside the image), and builderID, a URI that names this platform in provenances.
	Signing Signing `json:"signing,omitzero"`
	// verification is how signatures of models are verified when a pod is created that
	// serves them: serving (Off, Warn or Require) and keys, each with namespaces ("*" for
	// all) and a publicKey in PEM. See api/docs/verify.md.
	Verification Verification `json:"verification,omitzero"`
	// completenessCheckRequired forbids spec.build.completenessCheck: Skip.
	CompletenessCheckRequired bool `json:"completenessCheckRequired,omitempty"`
	// allowedEFS lists what may be packaged from AWS EFS: file systems, for example
	// fs-12345678; directories including their subdirectories, for example
	// fs-12345678:/models; and access points, for example
	// fs-12345678::fsap-12345678. None if empty, because the operator creates the
	// PersistentVolumes itself and Pod Security Standards do not restrict those.
	AllowedEFS []string `json:"allowedEFS,omitempty"`
	// allowedEFSAttributes lists the volume attributes that AWSEfs may set in
	// addition to path, and to encryptInTransit with the value true, compared
	// case-insensitively. The attribute mounttargetip makes every NFS server
	// reachable.
	AllowedEFSAttributes []string `json:"allowedEFSAttributes,omitempty"`
	// writableEFS allows training pods to write to what allowedEFS allows. By
	// default the PersistentVolumes that the operator creates are read-only for
	// every pod. If it is set, users who can create pods and ModelVersions in a
	// namespace can change everything that allowedEFS allows. Existing
	// PersistentVolumes are not changed.
	WritableEFS bool `json:"writableEFS,omitempty"`
	// trainingKinds lists kinds that spec.trainedBy can name in addition to Job,
	// JobSet, PyTorchJob, TFJob and TrainJob, each with apiVersion and kind. A kind of
	// which the operator does not know how it completes and fails also needs
	// completed, and should have failed: CEL expressions with the variables object and
	// status, for example status.phase == "Succeeded". api/docs/training.md lists the
	// kinds that are known. The operator needs permission to get, list and watch these
	// kinds, and to patch those that have the annotation
	// model.kubedl.io/model-version.
	TrainingKinds []TrainingKind `json:"trainingKinds,omitempty"`
	// servingMount is how serving pods get their model. ImageVolume mounts the image
	// itself, which needs Kubernetes 1.35 in the API server and on the nodes, and
	// containerd 2.2 or CRI-O 1.33. InitContainer copies the files with the image's own
	// shell. Auto mounts the image if the API server and all nodes on which the pod may
	// run are known to support it, and copies otherwise.
	ServingMount inject.ServingMount `json:"servingMount,omitempty"`
}

// TrainingKind is a kind of workload that trains models.
type TrainingKind struct {
	// apiVersion is the group and version to watch, for example example.com/v1.
	APIVersion string `json:"apiVersion"`
	// kind is the kind, for example TrainingRun.
	Kind string `json:"kind"`
	// completed is a CEL expression that is true of a workload that has completed.
	// Its variables are object, the workload, and status, the workload's status. It is
	// required if it is not known how the kind completes.
	Completed *workload.Expression `json:"completed,omitempty"`
	// failed is a CEL expression that is true of a workload that has failed, which
	// then has not completed. If it is not set, what is known of the kind applies; of
	// other kinds, a condition Failed or a phase Failed or Error counts.
	Failed *workload.Expression `json:"failed,omitempty"`
}

// Registry configures access to one registry.
type Registry struct {
	// host is the registry's host, with its port if it has one, as in image
	// references.
	Host string `json:"host"`
	// plainHTTP means that the registry is accessed over plain HTTP.
	PlainHTTP bool `json:"plainHTTP,omitempty"`
	// caBundle contains the PEM certificates of the authorities that sign the
	// registry's certificate, if they are not public.
	CABundle string `json:"caBundle,omitempty"`
	// pullHost is the registry's host, with its port if it has one, by which nodes pull
	// what builds push to host, for example localhost:30500 for a registry in the cluster.
	// status.image and the pods that serve have it. Builds use host.
	PullHost string `json:"pullHost,omitempty"`
}

// Default returns the configuration that applies where the file sets nothing. The
// resources are for Kaniko without its caches, whose memory usage does not depend
// on the model's size. The base image is pinned by the digest of its index of all
// architectures; see deploy/README.md for how to update it.
func Default() Config {
	return Config{
		BaseImage:                       "docker.io/library/busybox:1.37.0@sha256:bdf57e528e45e4433820e045b29b4597825a1c9e38353532d90a01445013f82e",
		WorkflowTemplate:                contract.BuildTemplate,
		Engine:                          v1alpha1.Kaniko,
		DeadlineSeconds:                 6 * 60 * 60,
		PendingSeconds:                  15 * 60,
		SuccessfulWorkflowsHistoryLimit: 3,
		FailedWorkflowsHistoryLimit:     3,
		ServingMount:                    inject.ServingAuto,
		Requests: map[corev1.ResourceName]resource.Quantity{
			corev1.ResourceCPU:    resource.MustParse("500m"),
			corev1.ResourceMemory: resource.MustParse("256Mi"),
		},
		Limits: map[corev1.ResourceName]resource.Quantity{
			corev1.ResourceMemory: resource.MustParse("1Gi"),
		},
	}
}

// Load returns the configuration in file, with defaults for what it does not set.
// An empty name returns the defaults. An unknown field is an error, so that a typo
// does not turn into an unrestricted allow-list.
func Load(file string) (Config, error) {
	c := Default()
	if file == "" {
		return c, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if err := checkRenamed(raw); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", file, err)
	}
	if err := yaml.UnmarshalStrict(raw, &c); err != nil {
		return Config{}, fmt.Errorf("parse configuration %s: %w", file, err)
	}
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", file, err)
	}
	return c, nil
}

// renamedFields maps fields of earlier releases to their present names.
var renamedFields = map[string]string{
	"succeededHistory": "successfulWorkflowsHistoryLimit",
	"failedHistory":    "failedWorkflowsHistoryLimit",
}

// checkRenamed returns an error that gives the present name of every field that
// has been renamed. It ignores malformed YAML, which the strict parser reports.
func checkRenamed(raw []byte) error {
	var fields map[string]any
	_ = yaml.Unmarshal(raw, &fields)
	var problems []error
	for _, old := range slices.Sorted(maps.Keys(renamedFields)) {
		if _, found := fields[old]; found {
			problems = append(problems, fmt.Errorf("%s was renamed to %s", old, renamedFields[old]))
		}
	}
	return errors.Join(problems...)
}

// progressInterval bounds how often a status is written only to update progress.
const progressInterval = 10 * time.Second

// Options returns the part of the configuration that affects builds.
func (c Config) Options() workflow.Options {
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
	return workflow.Options{
		DefaultRegistry:          c.DefaultRegistry,
		PlainHTTPRegistries:      plainHTTP,
		PullHosts:                c.pullHosts(),
		BaseImageMirrors:         c.BaseImageMirrors,
		Pods:                     c.BuildPods.options(),
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
		History:                  workflow.History{Succeeded: c.SuccessfulWorkflowsHistoryLimit, Failed: c.FailedWorkflowsHistoryLimit},
		DeadlineSeconds:          c.DeadlineSeconds,
		PendingTimeout:           time.Duration(c.PendingSeconds) * time.Second,
		ProgressInterval:         progressInterval,
		Requests:                 c.Requests,
		Limits:                   c.Limits,
		HostPaths:                sourcepolicy.HostPathRules{Denied: c.DeniedHostPaths, Allowed: c.AllowedHostPaths},
		NFS:                      sourcepolicy.NFSRules{Allowed: c.AllowedNFS},
		EFS:                      sourcepolicy.EFSRules{Allowed: c.AllowedEFS, Attributes: c.AllowedEFSAttributes, Writable: c.WritableEFS},
		S3:                       sourcepolicy.S3Rules{Allowed: c.AllowedS3},
		HuggingFace:              sourcepolicy.HuggingFaceRules{Allowed: c.AllowedHuggingFace},
		CompletenessRequired:     c.CompletenessCheckRequired,
		FileDigests:              c.FileDigests,
		Signing:                  workflow.Signing{Required: c.Signing.Required, Formats: c.Signing.Formats, Attest: c.Signing.Attest, BuilderID: c.Signing.BuilderID},
		Images:                   workflow.ImageRules{Repos: c.AllowedImageRepos, BaseImages: c.AllowedBaseImages},
		Scheduling:               workflow.SchedulingRules{Tolerations: c.AllowedTolerations, NodeSelectors: c.AllowedNodeSelectors},
	}
}

// pullHosts returns the hosts of registries that nodes know by another host.
func (c Config) pullHosts() map[string]string {
	hosts := map[string]string{}
	for _, r := range c.Registries {
		if r.PullHost != "" {
			hosts[r.Host] = r.PullHost
		}
	}
	return hosts
}

// trainingKinds returns all kinds that spec.trainedBy can name. An entry of the
// configuration replaces the kind of the same name that is supported without it.
func (c Config) trainingKinds() []workload.Kind {
	kinds := workload.TrainingKinds()
	for _, training := range c.TrainingKinds {
		added := training.kind()
		kinds = slices.DeleteFunc(kinds, func(k workload.Kind) bool { return k.GroupKind() == added.GroupKind() })
		kinds = append(kinds, added)
	}
	return kinds
}

// kind returns a kind as workloads of it are read. Its group, version or name is empty
// if the entry does not name one.
func (k TrainingKind) kind() workload.Kind {
	return workload.Kind{GroupVersionKind: schema.FromAPIVersionAndKind(k.APIVersion, k.Kind), Completed: k.Completed, Failed: k.Failed}
}

// RegistryCA returns the PEM certificates of the authorities of all private
// registries, or an empty string.
func (c Config) RegistryCA() string {
	var bundles []string
	for _, r := range c.Registries {
		if r.CABundle != "" {
			bundles = append(bundles, strings.TrimSpace(r.CABundle)+"\n")
		}
	}
	return strings.Join(bundles, "")
}
