package lifecycle

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// HasJoined reports whether the ModelVersion was added to its Model before. Such a
// ModelVersion never creates a Model: if the Model is gone, the ModelVersion is about
// to be garbage-collected, or was orphaned on purpose.
func HasJoined(mv *v1alpha1.ModelVersion) bool {
	return mv.Status.ModelUID != "" || mv.Annotations[v1alpha1.AnnotationJoined] == string(mv.UID) || IsFinished(mv)
}

// IsDetached reports whether a ModelVersion lacks the label, the annotation or the
// owner by which it belongs to its Model: it is new, or kubectl replace or a user has
// removed them. What KubeDL has finished is left as it is.
func IsDetached(mv *v1alpha1.ModelVersion) bool {
	if mv.Spec.ModelName == "" || finishedByKubeDL(mv) {
		return false
	}
	return mv.Labels[v1alpha1.LabelModelName] != mv.Spec.ModelName ||
		mv.Annotations[v1alpha1.AnnotationJoined] != string(mv.UID) ||
		mv.Status.ModelUID != "" && !isOwnedBy(mv, mv.Status.ModelUID)
}

// Join sets the label, the annotation and the owner by which a ModelVersion belongs
// to its Model. The Model is nil if it does not exist. One that was created after the
// ModelVersion had joined another of its name does not become the owner, and neither
// does one that is being deleted. References to the Model of another namespace, which
// a copied manifest has, are removed: the garbage collector would delete the copy.
func Join(mv *v1alpha1.ModelVersion, model *v1alpha1.Model) {
	joined := HasJoined(mv)
	if model != nil && model.DeletionTimestamp.IsZero() && (!joined || mv.Status.ModelUID == string(model.UID)) {
		mv.OwnerReferences = slices.DeleteFunc(mv.OwnerReferences, isModel)
		mv.OwnerReferences = append(mv.OwnerReferences, metav1.OwnerReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "Model", Name: model.Name, UID: model.UID,
		})
	}
	metav1.SetMetaDataLabel(&mv.ObjectMeta, v1alpha1.LabelModelName, mv.Spec.ModelName)
	metav1.SetMetaDataAnnotation(&mv.ObjectMeta, v1alpha1.AnnotationJoined, string(mv.UID))
}

// modelUID returns the UID of the Model that the ModelVersion has joined, or an empty
// string. The status remembers it, because users can remove the owner.
func modelUID(mv *v1alpha1.ModelVersion) string {
	owner := slices.IndexFunc(mv.OwnerReferences, isModel)
	if mv.Status.ModelUID != "" || owner < 0 || mv.Annotations[v1alpha1.AnnotationJoined] != string(mv.UID) {
		return mv.Status.ModelUID
	}
	return string(mv.OwnerReferences[owner].UID)
}

// EndsWithModel reports whether Kubernetes deletes a ModelVersion, or is about to, because
// its Model is being deleted or was. The Model is nil if it does not exist.
func EndsWithModel(mv *v1alpha1.ModelVersion, model *v1alpha1.Model) bool {
	owned := slices.ContainsFunc(mv.OwnerReferences, isModel)
	return owned && (model == nil || !model.DeletionTimestamp.IsZero() || !isOwnedBy(mv, string(model.UID)))
}

// Models returns the references of a ModelVersion to owners that are Models. Nothing else
// in the list of its owners is read.
func Models(mv *v1alpha1.ModelVersion) []metav1.OwnerReference {
	return slices.DeleteFunc(slices.Clone(mv.OwnerReferences), func(owner metav1.OwnerReference) bool { return !isModel(owner) })
}

func isOwnedBy(mv *v1alpha1.ModelVersion, uid string) bool {
	return slices.ContainsFunc(mv.OwnerReferences, func(owner metav1.OwnerReference) bool { return owner.UID == types.UID(uid) })
}

func isModel(owner metav1.OwnerReference) bool {
	return owner.Kind == "Model" && strings.HasPrefix(owner.APIVersion, v1alpha1.GroupVersion.Group+"/")
}
