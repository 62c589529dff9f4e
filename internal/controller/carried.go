package controller

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// carrier names a workload that carries a version's spec.
type carrier struct {
	schema.GroupVersionKind
	types.NamespacedName
}

// String is how a carrier is called in logs.
func (c carrier) String() string { return c.Kind + " " + c.NamespacedName.String() }

// carriedReconciler makes the versions whose specs workloads carry, when those
// have completed, and tells people by an event what keeps it from that.
type carriedReconciler struct {
	client   client.Client
	live     client.Reader
	recorder events.EventRecorder
	options  workflow.Options
	// told is what was last found out about a workload that has not ended, so
	// that it is not asked and told again each time the workload changes. One
	// worker uses it.
	told map[carrier]string
}

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs/status,verbs=patch

// newCarriedController registers the controller of workloads that carry a
// version's spec. It watches namespaces that begin to allow that; the kinds of
// workloads come one by one, and are watched by the trainingReconciler.
func newCarriedController(mgr ctrl.Manager, versions *ModelVersionReconciler, names cache.Cache) (controller.TypedController[carrier], error) {
	r := &carriedReconciler{
		client: versions.Client, live: versions.Live, recorder: versions.Recorder, options: versions.Options,
		told: map[carrier]string{},
	}
	c, err := controller.NewTyped("carried", mgr, controller.TypedOptions[carrier]{
		Reconciler: r, ReconciliationTimeout: passTimeout, MaxConcurrentReconciles: 1,
	})
	if err != nil {
		return nil, err
	}
	allowed := handler.TypedEnqueueRequestsFromMapFunc(r.inNamespace)
	if err := c.Watch(source.TypedKind[client.Object](names, namespaceMetadata(), allowed)); err != nil {
		return nil, err
	}
	return c, nil
}

// namespaceMetadata is a namespace of which only the metadata is read.
func namespaceMetadata() *metav1.PartialObjectMetadata {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return namespace
}

// carriersOf has the workloads of a kind that carry a version's spec looked at.
func carriersOf(kind schema.GroupVersionKind) handler.TypedEventHandler[client.Object, carrier] {
	return handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, workload client.Object) []carrier {
		if _, carries := workload.GetAnnotations()[v1alpha1.AnnotationModelVersion]; !carries {
			return nil
		}
		return []carrier{{kind, client.ObjectKeyFromObject(workload)}}
	})
}

// inNamespace are the workloads of a namespace that were told that it does not
// allow versions.
func (r *carriedReconciler) inNamespace(ctx context.Context, namespace client.Object) []carrier {
	var found []carrier
	for _, kind := range r.options.TrainingKinds {
		if _, err := r.client.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version); err != nil {
			continue
		}
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := r.live.List(ctx, list, client.InNamespace(namespace.GetName())); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not list the workloads of a namespace that allows versions now", "kind", kind.Kind)
			continue
		}
		for i := range list.Items {
			if _, carries := list.Items[i].Annotations[v1alpha1.AnnotationModelVersion]; carries {
				found = append(found, carrier{kind, client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
	}
	return found
}

// Reconcile takes one workload one step further. It reads past the cache, which
// knows names only.
func (r *carriedReconciler) Reconcile(ctx context.Context, key carrier) (ctrl.Result, error) {
	workload := &unstructured.Unstructured{}
	workload.SetGroupVersionKind(key.GroupVersionKind)
	err := r.live.Get(ctx, key.NamespacedName, workload)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		delete(r.told, key)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get %s: %w", key, err)
	}
	allowed, err := r.allows(ctx, key.Namespace)
	if err != nil {
		return resultFor(err)
	}
	step := lifecycle.NextTemplateStep(workload, allowed, r.options)
	switch {
	case step.Problem != nil:
		r.tell(key, workload, step.Problem)
		return ctrl.Result{}, nil
	case step.Version == nil:
		delete(r.told, key)
		return ctrl.Result{}, nil
	case step.Create:
		return resultFor(r.create(ctx, key, workload, step.Version))
	default:
		return resultFor(r.try(ctx, key, workload, step.Version))
	}
}

// allows says whether a namespace lets workloads make versions.
func (r *carriedReconciler) allows(ctx context.Context, name string) (bool, error) {
	namespace := namespaceMetadata()
	if err := r.live.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		return false, fmt.Errorf("get Namespace %q: %w", name, err)
	}
	return namespace.Labels[v1alpha1.LabelVersionsFromWorkloads] == "true", nil
}

// try finds out whether the API server would take the version, once for each
// spec.
func (r *carriedReconciler) try(ctx context.Context, key carrier, workload *unstructured.Unstructured, mv *v1alpha1.ModelVersion) error {
	spec := tried + workload.GetAnnotations()[v1alpha1.AnnotationModelVersion]
	if r.told[key] == spec {
		return nil
	}
	err := r.client.Create(ctx, mv, client.DryRunAll)
	if isRefused(err) {
		r.tell(key, workload, lifecycle.TemplateRejected(err.Error()))
	} else if client.IgnoreAlreadyExists(err) != nil {
		return fmt.Errorf("try to create ModelVersion %q: %w", mv.Name, err)
	}
	r.told[key] = spec
	return nil
}

// tried sets a spec that was tried apart from what a workload was told.
const tried = "tried: "

// create makes the version, and remembers on the workload that it did.
func (r *carriedReconciler) create(ctx context.Context, key carrier, workload *unstructured.Unstructured, mv *v1alpha1.ModelVersion) error {
	err := r.client.Create(ctx, mv)
	if isRefused(err) {
		r.tell(key, workload, lifecycle.TemplateRejected(err.Error()))
		if apierrors.IsForbidden(err) {
			// A quota, or a policy, that others may change.
			return fmt.Errorf("create ModelVersion %q: %w", mv.Name, err)
		}
		return nil
	}
	if client.IgnoreAlreadyExists(err) != nil {
		return fmt.Errorf("create ModelVersion %q: %w", mv.Name, err)
	}
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Created ModelVersion", "ModelVersion", klog.KObj(mv), "workload", key.String())
		r.recorder.Eventf(workload, nil, corev1.EventTypeNormal, lifecycle.EventCreated, "Build", "Created ModelVersion %s", mv.Name)
	}
	if err := r.remember(ctx, key, workload); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remember on %s that its version was made: %w", key, err)
	}
	delete(r.told, key)
	return nil
}

// remember writes on a workload that its version was made. A Job takes that with
// its status, so that there is no right to change what it runs. A kind of a CRD
// does not.
func (r *carriedReconciler) remember(ctx context.Context, key carrier, workload *unstructured.Unstructured) error {
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{%q:%q}}}`, workload.GetUID(), v1alpha1.AnnotationMadeVersion, workload.GetUID()))
	if key.Group == batchv1.GroupName {
		return r.client.Status().Patch(ctx, workload, patch)
	}
	return r.client.Patch(ctx, workload, patch)
}

// isRefused says that the API server does not want an object as it is.
func isRefused(err error) bool {
	terminating := apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
	return !terminating && (apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err))
}

// tell emits an event on the workload, unless it was the last one.
func (r *carriedReconciler) tell(key carrier, workload *unstructured.Unstructured, problem *workflow.Problem) {
	if r.told[key] == problem.Message {
		return
	}
	r.told[key] = problem.Message
	r.recorder.Eventf(workload, nil, corev1.EventTypeWarning, problem.Reason, "Build", "%s", note(problem.Message))
}
