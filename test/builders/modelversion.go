// Package builders creates the objects of tests, so that a test specifies only what
// it is about: ModelVersions, and Workflows in the states in which Argo leaves
// them.
package builders

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Epoch is when the objects of tests are created, unless they specify another time.
var Epoch = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// ModelVersionUID is the UID of a ModelVersion that does not set one. Its
// automatic tag is v1c072.
const ModelVersionUID types.UID = "1c072d5e-8a41-4f0b-9c36-5d2e7f1a0b94"

// ModelVersionWrapper builds a ModelVersion.
type ModelVersionWrapper struct{ mv v1alpha1.ModelVersion }

// MakeModelVersion returns a ModelVersion of model1 that is pushed to
// modelhub/resnet. It has no storage yet.
func MakeModelVersion(name, namespace string) *ModelVersionWrapper {
	return &ModelVersionWrapper{v1alpha1.ModelVersion{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ModelVersion"},
		ObjectMeta: metav1.ObjectMeta{
			Name:              name,
			Namespace:         namespace,
			UID:               ModelVersionUID,
			Generation:        1,
			CreationTimestamp: metav1.NewTime(Epoch),
		},
		Spec: v1alpha1.ModelVersionSpec{ModelName: "model1", CreatedBy: "user1", ImageRepo: "modelhub/resnet"},
	}}
}

// Obj returns the ModelVersion.
func (w *ModelVersionWrapper) Obj() *v1alpha1.ModelVersion { return w.mv.DeepCopy() }

// New returns the ModelVersion as users write it: without what the API server
// adds.
func (w *ModelVersionWrapper) New() *v1alpha1.ModelVersion {
	mv := w.Obj()
	mv.UID, mv.Generation, mv.CreationTimestamp = "", 0, metav1.Time{}
	return mv
}

// UID sets the ModelVersion's UID.
func (w *ModelVersionWrapper) UID(uid types.UID) *ModelVersionWrapper {
	w.mv.UID = uid
	return w
}

// Created sets when the ModelVersion was created.
func (w *ModelVersionWrapper) Created(at time.Time) *ModelVersionWrapper {
	w.mv.CreationTimestamp = metav1.NewTime(at)
	return w
}

// Deleting marks the ModelVersion as being deleted.
func (w *ModelVersionWrapper) Deleting(since time.Time) *ModelVersionWrapper {
	w.mv.DeletionTimestamp = ptr.To(metav1.NewTime(since))
	return w
}

// Rebuild sets the annotation that requests a new attempt.
func (w *ModelVersionWrapper) Rebuild(value string) *ModelVersionWrapper {
	metav1.SetMetaDataAnnotation(&w.mv.ObjectMeta, v1alpha1.AnnotationRebuild, value)
	return w
}

// Model sets the name of the ModelVersion's Model.
func (w *ModelVersionWrapper) Model(name string) *ModelVersionWrapper {
	w.mv.Spec.ModelName = name
	return w
}

// CreatedBy sets who created the model.
func (w *ModelVersionWrapper) CreatedBy(who string) *ModelVersionWrapper {
	w.mv.Spec.CreatedBy = who
	return w
}

// ImageRepo sets the repository to push to.
func (w *ModelVersionWrapper) ImageRepo(repo string) *ModelVersionWrapper {
	w.mv.Spec.ImageRepo = repo
	return w
}

// ImageTag sets the tag that the user requests.
func (w *ModelVersionWrapper) ImageTag(tag string) *ModelVersionWrapper {
	w.mv.Spec.ImageTag = tag
	return w
}

// LocalStorage stores the model in a directory on a node.
func (w *ModelVersionWrapper) LocalStorage(path, nodeName string) *ModelVersionWrapper {
	w.mv.Spec.Storage.LocalStorage = &v1alpha1.LocalStorage{Path: path, NodeName: nodeName}
	return w
}

// Claim stores the model in a PersistentVolumeClaim, or in a directory of it.
func (w *ModelVersionWrapper) Claim(name, subPath string) *ModelVersionWrapper {
	w.mv.Spec.Storage.PersistentVolumeClaim = &v1alpha1.PersistentVolumeClaim{ClaimName: name, SubPath: subPath}
	return w
}

// NFS stores the model on an NFS server.
func (w *ModelVersionWrapper) NFS(server, path string) *ModelVersionWrapper {
	w.mv.Spec.Storage.NFS = &v1alpha1.NFS{Server: server, Path: path}
	return w
}

// AWSEfs stores the model on an AWS Elastic File System.
func (w *ModelVersionWrapper) AWSEfs(volumeHandle string) *ModelVersionWrapper {
	w.mv.Spec.Storage.AWSEfs = &v1alpha1.AWSEfs{VolumeHandle: volumeHandle}
	return w
}

// S3 stores the model in a bucket of an object store.
func (w *ModelVersionWrapper) S3(endpoint, bucket, prefix string) *ModelVersionWrapper {
	w.mv.Spec.Storage.S3 = &v1alpha1.S3{Endpoint: endpoint, Bucket: bucket, Prefix: prefix}
	return w
}

// HuggingFace stores the model in a repository of a hub.
func (w *ModelVersionWrapper) HuggingFace(endpoint, repo string) *ModelVersionWrapper {
	w.mv.Spec.Storage.HuggingFace = &v1alpha1.HuggingFace{Endpoint: endpoint, Repo: repo}
	return w
}

// ExistingImage stores the model in an image that its tag holds already.
func (w *ModelVersionWrapper) ExistingImage(tag, digest string) *ModelVersionWrapper {
	w.mv.Spec.ImageTag, w.mv.Spec.Storage.Image = tag, &v1alpha1.Image{Digest: digest}
	return w
}

// SourceSecret names the Secret with the credentials for a bucket or a hub.
func (w *ModelVersionWrapper) SourceSecret(name string) *ModelVersionWrapper {
	if s3 := w.mv.Spec.Storage.S3; s3 != nil {
		s3.CredentialsSecretName = name
	}
	if hub := w.mv.Spec.Storage.HuggingFace; hub != nil {
		hub.TokenSecretName = name
	}
	return w
}

// FollowLinks packages what symbolic links lead to.
func (w *ModelVersionWrapper) FollowLinks() *ModelVersionWrapper {
	w.build().Symlinks = v1alpha1.FollowSymlinks
	return w
}

// Exclude leaves out files that match a pattern.
func (w *ModelVersionWrapper) Exclude(patterns ...v1alpha1.FilePattern) *ModelVersionWrapper {
	w.build().Exclude = append(w.build().Exclude, patterns...)
	return w
}

// CompletenessCheck sets whether an incomplete model fails the build.
func (w *ModelVersionWrapper) CompletenessCheck(check v1alpha1.CompletenessCheck) *ModelVersionWrapper {
	w.build().CompletenessCheck = check
	return w
}

// AWSEfsAttribute sets a volume attribute of the Elastic File System.
func (w *ModelVersionWrapper) AWSEfsAttribute(name string, value v1alpha1.AWSEfsAttribute) *ModelVersionWrapper {
	efs := w.mv.Spec.Storage.AWSEfs
	if efs.Attributes == nil {
		efs.Attributes = map[string]v1alpha1.AWSEfsAttribute{}
	}
	efs.Attributes[name] = value
	return w
}

// TrainedBy has the ModelVersion wait for a workload.
func (w *ModelVersionWrapper) TrainedBy(apiVersion, kind, name string) *ModelVersionWrapper {
	w.mv.Spec.TrainedBy = &v1alpha1.Workload{APIVersion: apiVersion, Kind: kind, Name: name}
	return w
}

// Engine sets the program that builds the image.
func (w *ModelVersionWrapper) Engine(engine v1alpha1.BuildEngine) *ModelVersionWrapper {
	w.build().Engine = engine
	return w
}

// Compression sets how the layers are compressed.
func (w *ModelVersionWrapper) Compression(compression v1alpha1.Compression) *ModelVersionWrapper {
	w.build().Compression = compression
	return w
}

// BaseImage sets the image below the model.
func (w *ModelVersionWrapper) BaseImage(image string) *ModelVersionWrapper {
	w.build().BaseImage = image
	return w
}

// PushSecret names the Secret with the push credentials.
func (w *ModelVersionWrapper) PushSecret(name string) *ModelVersionWrapper {
	w.build().PushSecretName = name
	return w
}

// Deadline sets how long a build may take.
func (w *ModelVersionWrapper) Deadline(seconds int64) *ModelVersionWrapper {
	w.build().DeadlineSeconds = ptr.To(seconds)
	return w
}

// WorkflowTemplate names the ClusterWorkflowTemplate to build with.
func (w *ModelVersionWrapper) WorkflowTemplate(name string) *ModelVersionWrapper {
	w.build().WorkflowTemplate = name
	return w
}

// NodeLabel requires nodes with this label.
func (w *ModelVersionWrapper) NodeLabel(key string, value v1alpha1.NodeLabelValue) *ModelVersionWrapper {
	b := w.build()
	if b.NodeSelector == nil {
		b.NodeSelector = map[string]v1alpha1.NodeLabelValue{}
	}
	b.NodeSelector[key] = value
	return w
}

// Toleration tolerates a taint.
func (w *ModelVersionWrapper) Toleration(t v1alpha1.Toleration) *ModelVersionWrapper {
	w.build().Tolerations = append(w.build().Tolerations, t)
	return w
}

// Request sets a resource request of the build.
func (w *ModelVersionWrapper) Request(name corev1.ResourceName, quantity string) *ModelVersionWrapper {
	r := w.resources()
	if r.Requests == nil {
		r.Requests = map[corev1.ResourceName]resource.Quantity{}
	}
	r.Requests[name] = resource.MustParse(quantity)
	return w
}

// Limit sets a resource limit of the build.
func (w *ModelVersionWrapper) Limit(name corev1.ResourceName, quantity string) *ModelVersionWrapper {
	r := w.resources()
	if r.Limits == nil {
		r.Limits = map[corev1.ResourceName]resource.Quantity{}
	}
	r.Limits[name] = resource.MustParse(quantity)
	return w
}

// Status sets the ModelVersion's status.
func (w *ModelVersionWrapper) Status(status v1alpha1.ModelVersionStatus) *ModelVersionWrapper {
	w.mv.Status = *status.DeepCopy()
	return w
}

// Built sets that the ModelVersion's image is in the registry.
func (w *ModelVersionWrapper) Built(image, digest string) *ModelVersionWrapper {
	w.mv.Status.ImageBuildPhase = v1alpha1.ImageBuildSucceeded
	w.mv.Status.Image, w.mv.Status.Digest = image, digest
	return w
}

// Phase sets the state of the ModelVersion's image.
func (w *ModelVersionWrapper) Phase(phase v1alpha1.ImageBuildPhase) *ModelVersionWrapper {
	w.mv.Status.ImageBuildPhase = phase
	return w
}

func (w *ModelVersionWrapper) build() *v1alpha1.Build {
	if w.mv.Spec.Build == nil {
		w.mv.Spec.Build = &v1alpha1.Build{}
	}
	return w.mv.Spec.Build
}

func (w *ModelVersionWrapper) resources() *v1alpha1.BuildResources {
	b := w.build()
	if b.Resources == nil {
		b.Resources = &v1alpha1.BuildResources{}
	}
	return b.Resources
}
