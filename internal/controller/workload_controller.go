package controller

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"

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
	"github.com/modelkiln/modelkiln/internal/apierr"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// workloadKey identifies a workload with a ModelVersion template.
type workloadKey struct {
	schema.GroupVersionKind
	types.NamespacedName
}

// String returns the kind and the name, for logs.
func (k workloadKey) String() string { return k.Kind + " " + k.NamespacedName.String() }

// WorkloadReconciler creates ModelVersions from the templates of workloads, once
// the workloads have completed. Events on a workload report what prevents that.
type WorkloadReconciler struct {
	// Client writes.
	Client client.Client
	// Live reads from the API server: the cache has metadata only.
	Live client.Reader
	// Training caches the metadata of training workloads, and of the namespaces
	// that allow ModelVersions from workloads, and training pods.
	Training cache.Cache
	// Recorder emits events.
	Recorder events.EventRecorder
	// Passes knows the passes that run.
	Passes *Passes
	// Options are the settings of builds.
	Options workflow.Options
	// Namespaces are the only namespaces of which workloads are read; all if empty.
	Namespaces []string

	// controller is this reconciler's. SetupWithManager sets it.
	controller controller.TypedController[workloadKey]
	// lastEvent holds the hash of the message of the last event on each unfinished
	// workload, or after a dry run of the template, so that neither is repeated each
	// time that the workload changes. There is one worker, so it needs no lock.
	lastEvent map[workloadKey]uint64
	// seed is that of the hashes.
	seed maphash.Seed
}

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs/status,verbs=patch,roleName=modelkiln-versions-from-workloads
// +kubebuilder:rbac:groups=jobset.x-k8s.io,resources=jobsets,verbs=patch,roleName=modelkiln-versions-from-workloads
// +kubebuilder:rbac:groups=kubeflow.org,resources=pytorchjobs;tfjobs,verbs=patch,roleName=modelkiln-versions-from-workloads
// +kubebuilder:rbac:groups=trainer.kubeflow.org,resources=trainjobs,verbs=patch,roleName=modelkiln-versions-from-workloads

// SetupWithManager registers the reconciler and its watch on namespaces that begin
// to allow ModelVersions from workloads. The kinds of workloads are added later, by
// a KindWatcher.
func (r *WorkloadReconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.lastEvent, r.seed = map[workloadKey]uint64{}, maphash.MakeSeed()
	c, err := controller.NewTyped("workload", mgr, controller.TypedOptions[workloadKey]{
		Reconciler: known(r.Passes, "workload", r), ReconciliationTimeout: passTimeout, MaxConcurrentReconciles: 1,
	})
	if err != nil {
		return err
	}
	r.controller = c
	toWorkloads := handler.TypedEnqueueRequestsFromMapFunc(r.workloadsInNamespace)
	return c.Watch(source.TypedKind[client.Object](r.Training, namespaceMetadata(), toWorkloads))
}

// watch watches the workloads of a kind that have a template.
func (r *WorkloadReconciler) watch(kind schema.GroupVersionKind) error {
	toKey := handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, object client.Object) []workloadKey {
		if !workload.HasTemplate(object) {
			return nil
		}
		return []workloadKey{{kind, client.ObjectKeyFromObject(object)}}
	})
	if err := r.controller.Watch(source.TypedKind[client.Object](r.Training, metadataOf(kind), toKey)); err != nil {
		return fmt.Errorf("watch the kind %s: %w", kind.GroupKind(), err)
	}
	return nil
}

// workloadsInNamespace returns the workloads with a template in a namespace.
func (r *WorkloadReconciler) workloadsInNamespace(ctx context.Context, namespace client.Object) []workloadKey {
	if len(r.Namespaces) > 0 && !slices.Contains(r.Namespaces, namespace.GetName()) {
		return nil
	}
	var found []workloadKey
	for _, training := range r.Options.TrainingKinds {
		kind := training.GroupVersionKind
		if _, err := r.Client.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version); err != nil {
			continue
		}
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := listPages(ctx, r.Live, list, namespace.GetName(), func(page client.ObjectList) {
			for _, object := range page.(*metav1.PartialObjectMetadataList).Items {
				if workload.HasTemplate(&object) {
					found = append(found, workloadKey{kind, client.ObjectKeyFromObject(&object)})
				}
			}
		})
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Failed to list the workloads of a namespace that now allows ModelVersions from workloads", "kind", kind.Kind)
		}
	}
	return found
}

// Reconcile runs one pass for one workload.
func (r *WorkloadReconciler) Reconcile(ctx context.Context, key workloadKey) (ctrl.Result, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(key.GroupVersionKind)
	err := r.Live.Get(ctx, key.NamespacedName, object)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		delete(r.lastEvent, key)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get %s: %w", key, err)
	}
	allowed, err := r.allowsVersions(ctx, key.Namespace)
	if err != nil {
		return resultFor(err)
	}
	step := lifecycle.NextTemplateStep(object, allowed, r.Options)
	switch {
	case step.Problem != nil:
		r.recordEvent(key, object, step.Problem)
		return ctrl.Result{}, nil
	case step.Version == nil:
		delete(r.lastEvent, key)
		return ctrl.Result{}, nil
	case step.Create:
		return resultFor(r.create(ctx, key, object, step.Version))
	default:
		return resultFor(r.dryRun(ctx, key, object, step.Version))
	}
}

// allowsVersions reports whether a namespace allows ModelVersions from workloads.
func (r *WorkloadReconciler) allowsVersions(ctx context.Context, name string) (bool, error) {
	namespace := namespaceMetadata()
	if err := r.Live.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		return false, fmt.Errorf("get Namespace %q: %w", name, err)
	}
	return workload.AllowsVersions(namespace), nil
}

// dryRunOf marks what lastEvent holds as a template and not a message.
const dryRunOf = "dry run: "

// dryRun finds out whether the API server would accept the ModelVersion, once for
// each template.
func (r *WorkloadReconciler) dryRun(ctx context.Context, key workloadKey, object *unstructured.Unstructured, mv *v1alpha1.ModelVersion) error {
	template := maphash.String(r.seed, dryRunOf+object.GetAnnotations()[v1alpha1.AnnotationModelVersion])
	if r.lastEvent[key] == template {
		return nil
	}
	err := r.Client.Create(ctx, mv, client.DryRunAll)
	if apierr.IsRejected(err) {
		r.recordEvent(key, object, lifecycle.TemplateRejected(err.Error()))
	} else if client.IgnoreAlreadyExists(err) != nil {
		return fmt.Errorf("create ModelVersion %q in a dry run: %w", mv.Name, err)
	}
	r.lastEvent[key] = template
	return nil
}

// create creates the ModelVersion, and marks the workload.
func (r *WorkloadReconciler) create(ctx context.Context, key workloadKey, object *unstructured.Unstructured, mv *v1alpha1.ModelVersion) error {
	var pods corev1.PodList
	if err := r.Training.List(ctx, &pods, client.InNamespace(mv.Namespace), client.MatchingLabels{v1alpha1.LabelTrainVersion: mv.Name}); err != nil {
		return fmt.Errorf("list training pods: %w", err)
	}
	lifecycle.MarkTrained(mv, pods.Items)
	// Without the mark, a ModelVersion that a user deletes would be created again.
	if err := r.markCreated(ctx, client.NewDryRunClient(r.Client), key, object.DeepCopy()); apierrors.IsForbidden(err) {
		r.recordEvent(key, object, lifecycle.TemplateNotPermitted(err.Error()))
		return nil
	}
	err := r.Client.Create(ctx, mv)
	if apierr.IsRejected(err) {
		r.recordEvent(key, object, lifecycle.TemplateRejected(err.Error()))
		if apierrors.IsForbidden(err) {
			// Others may change the quota or the policy: the error causes a retry.
			return fmt.Errorf("create ModelVersion %q: %w", mv.Name, err)
		}
		return nil
	}
	if client.IgnoreAlreadyExists(err) != nil {
		return fmt.Errorf("create ModelVersion %q: %w", mv.Name, err)
	}
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Created ModelVersion", "ModelVersion", klog.KObj(mv), "workload", key.String())
		r.Recorder.Eventf(object, nil, corev1.EventTypeNormal, lifecycle.EventCreated, "Build", "Created ModelVersion %s", mv.Name)
	}
	if err := r.markCreated(ctx, r.Client, key, object); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("annotate %s with its created ModelVersion: %w", key, err)
	}
	delete(r.lastEvent, key)
	return nil
}

// markCreated annotates a workload: its ModelVersion has been created. On a Job, the
// annotation is patched through the status, so that the operator needs no
// permission to change what the Job runs. The kind of a CRD ignores annotations
// there.
func (r *WorkloadReconciler) markCreated(ctx context.Context, writer client.Client, key workloadKey, object *unstructured.Unstructured) error {
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{%q:%q}}}`, object.GetUID(), v1alpha1.AnnotationMadeVersion, object.GetUID()))
	if key.Group == batchv1.GroupName {
		return writer.Status().Patch(ctx, object, patch)
	}
	return writer.Patch(ctx, object, patch)
}

// recordEvent emits an event on the workload, unless it was the last one.
func (r *WorkloadReconciler) recordEvent(key workloadKey, object *unstructured.Unstructured, problem *workflow.Problem) {
	message := maphash.String(r.seed, problem.Message)
	if r.lastEvent[key] == message {
		return
	}
	r.lastEvent[key] = message
	r.Recorder.Eventf(object, nil, corev1.EventTypeWarning, problem.Reason, "Build", "%s", note(problem.Message))
}
