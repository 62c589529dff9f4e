package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// DeletionPath is the URL path for ModelVersions that are being deleted.
const DeletionPath = "/deletion"

// Deletion rejects the deletion of a ModelVersion that is in use: pods serve it, and could
// not be created again, or an alias stands for it. Deletions with the annotation
// force-delete, and those of Kubernetes' own controllers, do not reach it.
type Deletion struct {
	// Live reads from the API server: a cache may not show a pod yet.
	Live client.Reader
}

// maxUsers is how many pods and aliases a message names.
const maxUsers = 3

// Handle allows the deletion of a ModelVersion that is not in use, or whose Model or
// namespace is being deleted too.
func (h *Deletion) Handle(ctx context.Context, request admission.Request) admission.Response {
	mv := &v1alpha1.ModelVersion{}
	if err := json.Unmarshal(request.OldObject.Raw, mv); err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("decode the ModelVersion: %w", err))
	}
	if mv.Annotations[v1alpha1.AnnotationForceDelete] == "true" || !mv.DeletionTimestamp.IsZero() {
		return admission.Allowed("")
	}
	users, err := h.users(ctx, request.Namespace, mv)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	if len(users) == 0 {
		return admission.Allowed("")
	}
	return admission.Denied(fmt.Sprintf("ModelVersion %s is in use: %s. To delete it nevertheless: kubectl annotate mv -n %s %s %s=true, then delete it again",
		mv.Name, strings.Join(users, "; "), request.Namespace, mv.Name, v1alpha1.AnnotationForceDelete))
}

// users describes what uses a ModelVersion. It returns nothing if that ends anyway.
func (h *Deletion) users(ctx context.Context, namespace string, mv *v1alpha1.ModelVersion) ([]string, error) {
	ends, err := h.namespaceEnds(ctx, namespace)
	if err != nil || ends {
		return nil, err
	}
	model := &v1alpha1.Model{}
	err = h.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: mv.Spec.ModelName}, model)
	if apierrors.IsNotFound(err) {
		model, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get Model %q: %w", mv.Spec.ModelName, err)
	}
	if lifecycle.EndsWithModel(mv, model) {
		return nil, nil
	}
	users := aliasUsers(model, mv.Name)
	pods, err := h.podUsers(ctx, namespace, mv)
	if pods != "" {
		users = append(users, pods)
	}
	return users, err
}

func (h *Deletion) namespaceEnds(ctx context.Context, name string) (bool, error) {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := h.Live.Get(ctx, client.ObjectKey{Name: name}, namespace); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get Namespace %q: %w", name, err)
	}
	return !namespace.DeletionTimestamp.IsZero(), nil
}

// aliasUsers describes the aliases that stand for a ModelVersion, or are to.
func aliasUsers(model *v1alpha1.Model, version string) []string {
	if model == nil {
		return nil
	}
	var names []string
	used := map[string]bool{}
	for _, alias := range model.Status.Aliases {
		used[alias.Name] = alias.Version == version
	}
	for _, alias := range model.Spec.Aliases {
		if used[alias.Name] || alias.Version == version {
			names = append(names, alias.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s of Model %s %s for it (kubectl edit mo -n %s %s)", named("alias", "aliases", names, false), model.Name, verb(names, "stands", "stand"), model.Namespace, model.Name)}
}

// +kubebuilder:rbac:groups="",resources=pods,verbs=list,roleName=modelkiln-namespaced

// podUsers describes the pods that serve a ModelVersion and have not ended.
func (h *Deletion) podUsers(ctx context.Context, namespace string, mv *v1alpha1.ModelVersion) (string, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	running := fields.AndSelectors(
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
	)
	err := h.Live.List(ctx, list, client.InNamespace(namespace), client.Limit(maxUsers+1),
		client.MatchingLabels{v1alpha1.LabelServedVersionUID: string(mv.UID)}, client.MatchingFieldsSelector{Selector: running})
	if err != nil {
		return "", fmt.Errorf("list the pods that serve ModelVersion %q: %w", mv.Name, err)
	}
	if len(list.Items) == 0 {
		return "", nil
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return fmt.Sprintf("%s %s it (kubectl get pods -n %s -l %s=%s)", named("pod", "pods", names, list.Continue != ""), verb(names, "serves", "serve"), namespace, v1alpha1.LabelServedVersionUID, mv.UID), nil
}

// named returns a noun and the names that it stands for, or some of them if there are
// many, or more than are known.
func named(one, many string, names []string, more bool) string {
	if len(names) == 1 && !more {
		return one + " " + names[0]
	}
	if len(names) > maxUsers {
		names, more = names[:maxUsers], true
	}
	list := many + " " + strings.Join(names, ", ")
	if more {
		list += " and others"
	}
	return list
}

func verb(names []string, one, many string) string {
	if len(names) == 1 {
		return one
	}
	return many
}
