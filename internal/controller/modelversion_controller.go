// Package controller holds the reconcilers. They read the world, ask
// internal/translate what to do about it, and do that: no decision is made
// here.
package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/metrics"
	"github.com/modelkiln/modelkiln/internal/translate"
)

// ModelVersionReconciler turns a ModelVersion into Workflows, and what becomes
// of those into its status.
type ModelVersionReconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Live reads past the cache, where a stale answer would start a second
	// build.
	Live client.Reader
	// Recorder emits events.
	Recorder events.EventRecorder
	// Metrics count what is done.
	Metrics *metrics.Metrics
	// Options shape the builds.
	Options translate.Options
	// RegistryCA is the PEM bundle that builds trust for private registries;
	// empty when there are none.
	RegistryCA string
	// Argo gives the reader of Argo's objects, or nil while the cluster does not
	// have their kinds.
	Argo func() client.Reader
	// Training reads the pods that train versions, from a cache.
	Training client.Reader
	// Now is the clock of conditions.
	Now func() time.Time
}

// No version is ever deleted. Where the admission plugin
// OwnerReferencesPermissionEnforcement is on, as on OpenShift, only those who
// may delete an object may set its owner.
//
// +kubebuilder:rbac:groups=model.kubedl.io,resources=modelversions,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=model.kubedl.io,resources=modelversions/status,verbs=patch
// +kubebuilder:rbac:groups=model.kubedl.io,resources=models,verbs=get;list;watch;create
// +kubebuilder:rbac:groups=argoproj.io,resources=workflows,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=argoproj.io,resources=clusterworkflowtemplates,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=pods;events,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile takes one ModelVersion one step further.
func (r *ModelVersionReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var mv v1alpha1.ModelVersion
	if err := r.Client.Get(ctx, req.NamespacedName, &mv); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !mv.DeletionTimestamp.IsZero() {
		if err := r.finalize(ctx, &mv); err != nil {
			return concluded(err)
		}
		return ctrl.Result{}, nil
	}

	again, err := r.reconcile(ctx, &mv)
	if err != nil {
		return concluded(err)
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// soon is when a pass is repeated that lost a race. By then the cache shows
// what it lost to.
const soon = 200 * time.Millisecond

// concluded turns a pass's error into its result. Some errors are how things
// are meant to go, and nobody's business: the object, or its namespace, is
// going away, or somebody else wrote first.
func concluded(err error) (ctrl.Result, error) {
	switch {
	case isGone(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return ctrl.Result{}, nil
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: soon}, nil
	default:
		return ctrl.Result{}, err
	}
}

// isGone says that the version, the Model or the namespace that a pass was
// about is no longer there. Anything else that is not found is an error, such
// as Argo's CRDs.
func isGone(err error) bool {
	return apierrors.IsNotFound(err) && isAbout(err, "modelversions", "models", "namespaces")
}

// isInTheWay says that storage of the name that a version's has to bear is
// there, and is not the version's or is being deleted.
func isInTheWay(err error) bool {
	return apierrors.IsAlreadyExists(err) && isAbout(err, "persistentvolumeclaims", "persistentvolumes")
}

// isAbout says that an error of the API server is about an object of one of
// these resources.
func isAbout(err error, resources ...string) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.Contains(resources, status.Status().Details.Kind)
}

func (r *ModelVersionReconciler) reconcile(ctx context.Context, mv *v1alpha1.ModelVersion) (again time.Duration, err error) {
	terminating := false
	if !translate.Final(mv) {
		if terminating, err = r.join(ctx, mv); err != nil {
			return 0, r.explained(ctx, mv, err)
		}
	}
	observed, err := r.observe(ctx, mv)
	if err != nil {
		return 0, err
	}
	observed.ModelTerminating = terminating
	if err := r.observeTraining(ctx, mv, &observed); err != nil {
		return 0, r.explained(ctx, mv, err)
	}
	step, err := r.act(ctx, observed)
	if err != nil {
		return 0, err
	}
	if err := r.patchStatus(ctx, observed, step.Status); err != nil {
		return 0, err
	}
	return step.Again.Duration, r.forget(ctx, step.Delete)
}

// forget deletes Workflows that are more than are kept.
func (r *ModelVersionReconciler) forget(ctx context.Context, workflows []*wfv1.Workflow) error {
	for _, wf := range workflows {
		// As it was seen: a person may have just retried it.
		same := client.Preconditions{UID: &wf.UID, ResourceVersion: &wf.ResourceVersion}
		if err := r.Client.Delete(ctx, wf, same, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete Workflow %q: %w", wf.Name, err)
		}
	}
	return nil
}

// act does what NextStep says. After a Workflow was created, or found to be
// somebody else's, it asks again what is true now.
func (r *ModelVersionReconciler) act(ctx context.Context, observed translate.Observed) (translate.Step, error) {
	step := translate.NextStep(observed, r.Options)
	if step.Terminate != nil {
		// The status goes first: it remembers why the Workflow is ended.
		if err := r.patchStatus(ctx, observed, step.Status); err != nil {
			return translate.Step{}, err
		}
		return step, r.terminate(ctx, step.Terminate)
	}
	if step.Create == nil {
		if err := r.prepareVolume(ctx, observed.Version, step.Volume); err != nil {
			return translate.Step{}, r.explained(ctx, observed.Version, err)
		}
		return step, nil
	}
	if err := r.current(ctx, observed.Version); err != nil {
		return translate.Step{}, err
	}
	if err := r.prepareNamespace(ctx, observed.Version.Namespace); err != nil {
		return translate.Step{}, r.explained(ctx, observed.Version, err)
	}
	if err := r.prepareVolume(ctx, observed.Version, step.Volume); err != nil {
		return translate.Step{}, r.explained(ctx, observed.Version, err)
	}
	created, err := r.create(ctx, observed.Version, step.Create)
	if err != nil {
		return translate.Step{}, r.explained(ctx, observed.Version, err)
	}
	if created == nil {
		observed.NameTaken = step.Create.Name
	} else {
		observed.Workflows = append(observed.Workflows, created)
	}
	return translate.NextStep(observed, r.Options), nil
}

// current is a conflict when the cache shows the version as it was: one that
// has ended since, and whose Workflow is gone, would be built again.
func (r *ModelVersionReconciler) current(ctx context.Context, mv *v1alpha1.ModelVersion) error {
	var live v1alpha1.ModelVersion
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(mv), &live); err != nil {
		return fmt.Errorf("get ModelVersion %q: %w", mv.Name, err)
	}
	if live.ResourceVersion != mv.ResourceVersion {
		resource := v1alpha1.GroupVersion.WithResource("modelversions").GroupResource()
		return apierrors.NewConflict(resource, mv.Name, errors.New("the cache is behind"))
	}
	return nil
}

// isArgoGone says that the API server does not know Argo's kinds any more.
func isArgoGone(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) && !isGone(err)
}

// explained is the error, after people were told of it in the status where the
// API server refuses something, or does not know Argo any more: that can last
// until a person acts.
func (r *ModelVersionReconciler) explained(ctx context.Context, mv *v1alpha1.ModelVersion, err error) error {
	if isArgoGone(err) {
		if told := r.patchStatus(ctx, translate.Observed{Version: mv}, translate.ArgoMissing(mv)); told != nil {
			return told
		}
		return err
	}
	refused := apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || isInTheWay(err)
	if !refused || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return err
	}
	if told := r.patchStatus(ctx, translate.Observed{Version: mv}, translate.Refused(mv, err.Error())); told != nil {
		return told
	}
	return err
}

// create makes the Workflow, or finds that an earlier pass, whose outcome the
// cache does not show yet, has made it. It returns nil when the name belongs
// to a Workflow that is not the version's.
func (r *ModelVersionReconciler) create(ctx context.Context, mv *v1alpha1.ModelVersion, wf *wfv1.Workflow) (*wfv1.Workflow, error) {
	err := r.Client.Create(ctx, wf)
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Created Workflow", "Workflow", klog.KObj(wf))
		r.Metrics.AttemptCreated()
		return wf, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("create Workflow %q: %w", wf.Name, err)
	}
	var existing wfv1.Workflow
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(wf), &existing); err != nil {
		return nil, fmt.Errorf("get Workflow %q: %w", wf.Name, err)
	}
	if !metav1.IsControlledBy(&existing, mv) {
		return nil, nil
	}
	return &existing, nil
}

// terminate ends a Workflow as a person's argo terminate would. Argo's types
// are never written back whole: Argo keeps its status in the same object.
func (r *ModelVersionReconciler) terminate(ctx context.Context, wf *wfv1.Workflow) error {
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"shutdown":"Terminate"}}`))
	target := &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Namespace: wf.Namespace, Name: wf.Name}}
	if err := r.Client.Patch(ctx, target, patch); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("terminate Workflow %q: %w", wf.Name, err)
	}
	return nil
}

// join makes the version a part of its Model, which is made if absent, and
// says whether it waits for a Model that is being deleted. A version that has
// had a Model never brings it back: if that is gone, the version is about to
// be collected.
func (r *ModelVersionReconciler) join(ctx context.Context, mv *v1alpha1.ModelVersion) (terminating bool, err error) {
	if hasModel(mv) || mv.Spec.ModelName == "" {
		return false, nil
	}
	model, err := r.model(ctx, mv)
	if err != nil {
		return false, err
	}
	if !model.DeletionTimestamp.IsZero() {
		return true, nil
	}
	before := mv.DeepCopy()
	if err := controllerutil.SetOwnerReference(model, mv, r.Client.Scheme()); err != nil {
		return false, fmt.Errorf("own ModelVersion %q: %w", mv.Name, err)
	}
	metav1.SetMetaDataLabel(&mv.ObjectMeta, v1alpha1.LabelModelName, mv.Spec.ModelName)
	metav1.SetMetaDataAnnotation(&mv.ObjectMeta, v1alpha1.AnnotationJoined, string(mv.UID))
	// The lock keeps two passes from both believing that there is no owner.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, mv, patch); err != nil {
		return false, fmt.Errorf("own ModelVersion %q: %w", mv.Name, err)
	}
	return false, nil
}

// hasModel says that a Model owns the version, or did.
func hasModel(mv *v1alpha1.ModelVersion) bool {
	joined := mv.Annotations[v1alpha1.AnnotationJoined] == string(mv.UID)
	return joined || slices.ContainsFunc(mv.OwnerReferences, func(owner metav1.OwnerReference) bool {
		return owner.Kind == "Model" && strings.HasPrefix(owner.APIVersion, v1alpha1.GroupVersion.Group+"/")
	})
}

// model is the version's Model, made if there is none.
func (r *ModelVersionReconciler) model(ctx context.Context, mv *v1alpha1.ModelVersion) (*v1alpha1.Model, error) {
	key := client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}
	var model v1alpha1.Model
	err := r.Live.Get(ctx, key, &model)
	if err == nil || !apierrors.IsNotFound(err) {
		return &model, client.IgnoreNotFound(err)
	}
	model = v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if err := r.Client.Create(ctx, &model); err != nil {
		return nil, fmt.Errorf("create Model %q: %w", key.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Created Model", "Model", klog.KObj(&model))
	return &model, nil
}

// patchStatus writes the status in one patch, if it differs, and tells people
// of what has changed by an event and by metrics after that.
func (r *ModelVersionReconciler) patchStatus(ctx context.Context, observed translate.Observed, next v1alpha1.ModelVersionStatus) error {
	mv := observed.Version
	// As the API server keeps it, so that what was written equals what is read.
	now := ptr.To(metav1.NewTime(r.Now())).Rfc3339Copy()
	for i := range next.Conditions {
		if next.Conditions[i].LastTransitionTime.IsZero() {
			next.Conditions[i].LastTransitionTime = now
		}
	}
	if equality.Semantic.DeepEqual(mv.Status, next) {
		return nil
	}
	before := mv.DeepCopy()
	mv.Status = next
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, mv, patch); err != nil {
		return fmt.Errorf("patch status: %w", err)
	}
	r.announce(ctx, mv, before.Status.Conditions)
	if end := translate.Ended(before.Status, mv.Status); end != nil {
		r.Metrics.AttemptCompleted(*end, translate.StepSeconds(*end, observed.Workflows))
	}
	return nil
}

// announce emits an event when the reason of the Ready condition has changed.
func (r *ModelVersionReconciler) announce(ctx context.Context, mv *v1alpha1.ModelVersion, before []metav1.Condition) {
	ready := meta.FindStatusCondition(mv.Status.Conditions, v1alpha1.ConditionReady)
	was := meta.FindStatusCondition(before, v1alpha1.ConditionReady)
	if ready == nil || (was != nil && was.Reason == ready.Reason) {
		return
	}
	kind := corev1.EventTypeNormal
	if meta.IsStatusConditionTrue(mv.Status.Conditions, v1alpha1.ConditionStalled) {
		kind = corev1.EventTypeWarning
	}
	ctrl.LoggerFrom(ctx).Info("Changed state", "reason", ready.Reason, "message", ready.Message)
	r.Recorder.Eventf(mv, nil, kind, ready.Reason, "Build", "%s", note(ready.Message))
}

// maxNote is how many bytes an event's note may have.
const maxNote = 1024

// note is as much of a message as an event may hold.
func note(message string) string {
	const cut = "…"
	if len(message) <= maxNote {
		return message
	}
	return strings.ToValidUTF8(message[:maxNote-len(cut)], "") + cut
}
