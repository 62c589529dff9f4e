package webhook

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// ServingPath is the URL path for pods that serve a model.
const ServingPath = "/serving"

// Serving mounts models into the pods that serve them.
type Serving struct {
	// Live reads from the API server: a pod is created as soon as its
	// ModelVersion is Ready, which a cache may not show yet.
	Live client.Reader
	// Client creates the records of what the pods of a workload serve.
	Client client.Writer
	// Server returns the version of the API server.
	Server discovery.ServerVersionInterfaceWithContext
	// Nodes are the nodes on which pods may run. Only ServingAuto needs them.
	Nodes *Nodes
	// Mount is how models are mounted.
	Mount inject.ServingMount
	// Verification is how signatures of models are verified.
	Verification inject.Verification
	// Options are the operator's options.
	Options workflow.Options
}

// Default mutates a pod that is being created. An error rejects the pod, and is
// shown to the user or controller that creates it.
func (h *Serving) Default(ctx context.Context, pod *corev1.Pod) error {
	request, err := admission.RequestFromContext(ctx)
	if err != nil {
		return fmt.Errorf("read the admission request: %w", err)
	}
	mv, err := h.version(ctx, request, pod)
	if err != nil || mv == nil {
		return err
	}
	mode, err := h.mode(ctx, pod)
	if err != nil {
		return err
	}
	served, problem := inject.Serving(pod, mv, mode)
	if problem != nil {
		return fmt.Errorf("ModelVersion %q: %s", mv.Name, problem.Message)
	}
	if err := h.verify(ctx, mv); err != nil {
		return err
	}
	verifies, err := h.verifyFiles(ctx, served, mv, mode)
	if err != nil {
		return fmt.Errorf("ModelVersion %q: %w", mv.Name, err)
	}
	if verifies || mode == inject.ServingInitContainer {
		if err := h.leaveUser(ctx, request.Namespace, served); err != nil {
			return err
		}
	}
	*pod = *served
	return nil
}

// verify returns an error for a ModelVersion without a valid signature, or adds a warning.
func (h *Serving) verify(ctx context.Context, mv *v1alpha1.ModelVersion) error {
	problem := h.Verification.Problem(mv)
	switch {
	case problem == "":
		return nil
	case h.Verification.Mode == inject.VerificationRequire:
		return fmt.Errorf("ModelVersion %q: %s", mv.Name, problem)
	default:
		warnf(ctx, "ModelVersion %q: %s", mv.Name, problem)
		return nil
	}
}

// leaveUser removes the user from the containers that were added to the pod where the
// namespace assigns one.
func (h *Serving) leaveUser(ctx context.Context, name string, pod *corev1.Pod) error {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := h.Live.Get(ctx, client.ObjectKey{Name: name}, namespace); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get Namespace %q: %w", name, err)
	}
	if workload.AssignsUsers(namespace) {
		inject.LeaveUser(pod)
	}
	return nil
}

// version returns the ModelVersion that a pod serves, or nil if the pod has none
// of the labels.
func (h *Serving) version(ctx context.Context, request admission.Request, pod *corev1.Pod) (*v1alpha1.ModelVersion, error) {
	name, namesVersion, err := labelValue(pod, v1alpha1.LabelServeVersion, "ModelVersion")
	if err != nil {
		return nil, err
	}
	model, namesModel, err := labelValue(pod, v1alpha1.LabelServeModel, "Model")
	if err != nil {
		return nil, err
	}
	alias, namesAlias, err := labelValue(pod, v1alpha1.LabelServeAlias, "Model's alias")
	switch {
	case err != nil:
		return nil, err
	case namesAlias && !namesModel:
		return nil, fmt.Errorf("the pod's label %s names an alias and no Model: add the label %s instead of %s", v1alpha1.LabelServeAlias, v1alpha1.LabelServeModel, v1alpha1.LabelServeVersion)
	case namesVersion && namesModel:
		return nil, fmt.Errorf("the pod has both labels, %s and %s: remove one of them", v1alpha1.LabelServeVersion, v1alpha1.LabelServeModel)
	case namesVersion:
		return getVersion(ctx, h.Live, request.Namespace, name, namedBy(v1alpha1.LabelServeVersion))
	case namesModel:
		return h.ofModel(ctx, request, pod, model, alias)
	default:
		return nil, nil
	}
}

// current returns the ModelVersion of an alias of a Model or, if the alias is empty, the
// latest.
func (h *Serving) current(ctx context.Context, namespace, name, alias string) (*v1alpha1.ModelVersion, error) {
	model := &v1alpha1.Model{}
	err := h.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, model)
	if apierrors.IsNotFound(err) {
		return nil, notFound("Model", namespace, name, namedBy(v1alpha1.LabelServeModel), "create a ModelVersion of it first")
	}
	if err != nil {
		return nil, fmt.Errorf("get Model %q: %w", name, err)
	}
	if alias != "" {
		return h.ofAlias(ctx, model, alias)
	}
	if model.Status.LatestVersion == nil {
		return nil, fmt.Errorf("no ModelVersion of Model %q (%s) is Ready; to list them: kubectl get mv -n %s -l %s=%s. %s", name, namedBy(v1alpha1.LabelServeModel), namespace, v1alpha1.LabelModelName, name, inject.CreatedWhenReady)
	}
	return getVersion(ctx, h.Live, namespace, model.Status.LatestVersion.ModelVersion, "the latest of Model "+name)
}

// ofAlias returns the ModelVersion of an alias, with the image that the alias stands for.
func (h *Serving) ofAlias(ctx context.Context, model *v1alpha1.Model, alias string) (*v1alpha1.ModelVersion, error) {
	state := lifecycle.AliasOf(model, alias)
	switch {
	case state.Version == "" && state.Message != "":
		return nil, fmt.Errorf("the alias %q of Model %q (%s) stands for no ModelVersion yet: %s", alias, model.Name, namedBy(v1alpha1.LabelServeAlias), state.Message)
	case state.Version == "":
		return nil, fmt.Errorf("the Model %q has no alias %q (%s): add it to spec.aliases with kubectl edit mo -n %s %s", model.Name, alias, namedBy(v1alpha1.LabelServeAlias), model.Namespace, model.Name)
	}
	served := workload.Served{ModelVersion: state.Version, Digest: state.Digest}
	return h.sameVersion(ctx, model.Namespace, served, func() string {
		return fmt.Sprintf("the alias %q of Model %q stands for it. Promote another one: kubectl edit mo -n %s %s", alias, model.Name, model.Namespace, model.Name)
	})
}

// mode returns how a pod gets its model. The API server is queried each time,
// since it may be upgraded while the operator runs. The image is mounted only if all
// nodes are known to do that: others start the pod with an empty directory.
func (h *Serving) mode(ctx context.Context, pod *corev1.Pod) (inject.ServingMount, error) {
	if h.Mount != inject.ServingAuto {
		return h.Mount, nil
	}
	server, err := h.Server.ServerVersionWithContext(ctx)
	if err != nil {
		return "", fmt.Errorf("get the API server's version: %w", err)
	}
	mode := inject.ServingMountFor(*server)
	if mode != inject.ServingImageVolume {
		return mode, nil
	}
	nodes, why := h.Nodes.list(ctx)
	if why == "" {
		why = inject.LacksImageVolumes(nodes, pod)
	}
	if why != "" {
		warnf(ctx, "an init container copies the model, and its image is not mounted: %s", why)
		return inject.ServingInitContainer, nil
	}
	return mode, nil
}
