package workload

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// A Revision identifies one pod template of a workload. All pods of a revision
// serve the same ModelVersion of a Model.
type Revision struct {
	// Owner is the pod's controller: a ReplicaSet, StatefulSet, DaemonSet or Job.
	Owner metav1.OwnerReference
	// ControllerRevision is the name of the object that holds this pod template of
	// a StatefulSet or DaemonSet. It is empty for a ReplicaSet and a Job, which have
	// one template.
	ControllerRevision string
}

// RevisionOf returns the revision that a pod belongs to. It returns false for a pod
// without a controller, and for one whose controller does not have revisions that
// are known: its pods may belong to different templates.
func RevisionOf(pod *corev1.Pod) (Revision, bool) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return Revision{}, false
	}
	hash := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
	switch owner.APIVersion + " " + owner.Kind {
	case "apps/v1 ReplicaSet", "batch/v1 Job":
		return Revision{Owner: *owner}, true
	case "apps/v1 StatefulSet":
		return Revision{Owner: *owner, ControllerRevision: hash}, hash != ""
	case "apps/v1 DaemonSet":
		return Revision{Owner: *owner, ControllerRevision: owner.Name + "-" + hash}, hash != ""
	default:
		return Revision{}, false
	}
}

// NewOwnerReference returns the reference to an object that controls a record. It does
// not block the deletion of the object, for which the operator would need
// permissions.
func NewOwnerReference(apiVersion, kind, name string, uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, UID: uid, Controller: ptr.To(true)}
}

// NextRevision returns what a user does to move the pods of a pod's revision to
// another ModelVersion.
func NextRevision(pod *corev1.Pod, namespace string, revision Revision) string {
	const restart = "kubectl rollout restart -n %s %s/%s"
	owner := revision.Owner
	deployment, ofDeployment := strings.CutSuffix(owner.Name, "-"+pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey])
	switch {
	case owner.Kind == "ReplicaSet" && ofDeployment:
		return fmt.Sprintf(restart, namespace, "deployment", deployment)
	case owner.Kind == "ReplicaSet":
		return fmt.Sprintf("change the pod template of the object that controls ReplicaSet %s, for example an annotation", owner.Name)
	case owner.Kind == "Job":
		return fmt.Sprintf("create Job %s again", owner.Name)
	default:
		return fmt.Sprintf(restart, namespace, strings.ToLower(owner.Kind), owner.Name)
	}
}

// ServedDigest returns the digest, "sha256:…", of the image that a pod serves; empty for
// a pod that serves none.
func ServedDigest(pod metav1.Object) string {
	_, digest, _ := strings.Cut(pod.GetAnnotations()[v1alpha1.AnnotationServedImage], "@")
	return digest
}

// Served is what the pods of a revision serve. It is the content of a record.
type Served struct {
	// Model is the name of the Model in the label of the pods.
	Model string `json:"model"`
	// Alias is the name of the Model's alias in the label of the pods; empty if they
	// serve the Model's latest version.
	Alias string `json:"alias,omitempty"`
	// ModelVersion is the name of the ModelVersion.
	ModelVersion string `json:"modelVersion"`
	// Digest is the digest of its image.
	Digest string `json:"digest"`
}

// ServedRecordName returns the name of the record of what a revision serves of a Model or,
// unless it is empty, of an alias. The UID is that of the object whose lifetime the record
// has.
func ServedRecordName(uid types.UID, model, alias string) string {
	key := string(uid) + "/" + model
	if alias != "" {
		key += "/" + alias
	}
	sum := sha256.Sum256([]byte(key))
	return "modelkiln-served-" + hex.EncodeToString(sum[:])[:20]
}

// NewServedRecord returns the record of what a revision serves. It is a
// ControllerRevision, whose data cannot be changed, and which the controllers of
// Kubernetes ignore because it is controlled by an object that is not theirs. The
// garbage collector deletes it with its owner: the ReplicaSet or Job, or the
// ControllerRevision of a StatefulSet or DaemonSet. All of those exist as long as
// kubectl rollout undo can return to them.
func NewServedRecord(namespace string, owner metav1.OwnerReference, served Served) (*appsv1.ControllerRevision, error) {
	raw, err := json.Marshal(served)
	if err != nil {
		return nil, fmt.Errorf("encode the record: %w", err)
	}
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       namespace,
			Name:            ServedRecordName(owner.UID, served.Model, served.Alias),
			Labels:          map[string]string{v1alpha1.LabelServeModel: served.Model},
			Annotations:     map[string]string{v1alpha1.AnnotationServedVersion: served.ModelVersion},
			OwnerReferences: []metav1.OwnerReference{owner},
		},
		Data:     runtime.RawExtension{Raw: raw},
		Revision: 1,
	}, nil
}

// ReadServedRecord returns the content of a record.
func ReadServedRecord(record *appsv1.ControllerRevision) (*Served, error) {
	var served Served
	if err := json.Unmarshal(record.Data.Raw, &served); err != nil {
		return nil, fmt.Errorf("decode ControllerRevision %q: %w", record.Name, err)
	}
	return &served, nil
}
