// Package controller contains the reconcilers. They read objects, let
// internal/lifecycle decide what to do about them, and do it. They do not make
// decisions about builds themselves.
package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/apierr"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/metrics"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// ModelVersionReconciler creates the Workflows of a ModelVersion, and derives its
// status from them.
type ModelVersionReconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Live reads from the API server where stale data would start a second build.
	Live client.Reader
	// Recorder emits events.
	Recorder events.EventRecorder
	// Metrics records what the operator does.
	Metrics *metrics.Metrics
	// Passes knows the passes that run.
	Passes *Passes
	// Options are the settings of builds.
	Options workflow.Options
	// Namespaces prepares the namespaces of builds.
	Namespaces *Namespaces
	// Argo returns the reader of Argo's objects, or nil while the cluster does not
	// have their kinds.
	Argo func() client.Reader
	// Training caches training workloads and the pods that train a ModelVersion.
	Training cache.Cache
	// Attach caches the events about volumes that cannot be attached.
	Attach cache.Cache
	// Now is the clock of conditions.
	Now func() time.Time

	// controller runs this reconciler, and kindsChanged is one of its sources: it
	// receives an event when a kind has become present or absent.
	// SetupWithManager sets both.
	controller   controller.Controller
	kindsChanged chan event.GenericEvent
	// reader reads Workflows.
	reader workflowReader
	// waits are the waits of Workflows.
	waits waits
	// replaced are the states of ModelVersions that own writes have replaced.
	replaced replacedStates
}

// The operator never deletes a ModelVersion. The admission plugin
// OwnerReferencesPermissionEnforcement, which OpenShift enables, requires the
// permission to delete an object to set its owner.
//
// +kubebuilder:rbac:groups=model.kubedl.io,resources=modelversions,verbs=get;list;watch;create;patch;delete,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups=model.kubedl.io,resources=modelversions/status,verbs=patch,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups=model.kubedl.io,resources=models,verbs=get;list;watch;create,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups=argoproj.io,resources=workflows,verbs=get;list;watch;create;patch;delete,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups=argoproj.io,resources=clusterworkflowtemplates,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=pods;events,verbs=list;watch,roleName=modelkiln-namespaced
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch,roleName=modelkiln-namespaced

// Reconcile runs one pass for one ModelVersion.
func (r *ModelVersionReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var mv v1alpha1.ModelVersion
	if err := r.Client.Get(ctx, req.NamespacedName, &mv); err != nil {
		r.reader.forget(req.NamespacedName)
		r.waits.forget(req.NamespacedName)
		r.replaced.forget(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if r.replaced.has(req.NamespacedName, mv.ResourceVersion) {
		return ctrl.Result{RequeueAfter: conflictRequeueDelay}, nil
	}
	if !mv.DeletionTimestamp.IsZero() {
		if err := r.finalize(ctx, &mv); err != nil {
			return resultFor(err)
		}
		return ctrl.Result{}, nil
	}

	requeueAfter, err := r.reconcile(ctx, &mv)
	if err != nil {
		return resultFor(err)
	}
	return ctrl.Result{RequeueAfter: requeueAfter}, nil
}

// reconcile runs one pass: read, decide, create, patch the status once, and then
// terminate and delete. The status is patched before the termination, because
// it records why a Workflow is terminated.
func (r *ModelVersionReconciler) reconcile(ctx context.Context, mv *v1alpha1.ModelVersion) (requeueAfter time.Duration, err error) {
	observed, err := r.observe(ctx, mv)
	if err != nil {
		return 0, err
	}
	observed.WaitsSince = r.waits.since(client.ObjectKeyFromObject(mv), lifecycle.WaitsFor(observed), observed.Now)
	step, actErr := r.act(ctx, &observed)
	if actErr != nil {
		status, found := statusFor(mv, actErr)
		if !found {
			return 0, actErr
		}
		if apierr.IsRejected(actErr) {
			r.Metrics.WriteRejected()
		}
		step = lifecycle.Step{Status: status}
	}
	// Programs retry a Workflow as soon as the status says that it has failed, which Argo
	// refuses if the Workflow changes meanwhile.
	if err := r.describe(ctx, step.Describe); err != nil {
		return 0, err
	}
	if err := r.patchStatus(ctx, observed, step.Status); err != nil {
		return 0, err
	}
	if actErr != nil {
		return 0, actErr
	}
	if step.Ignored != "" {
		r.Recorder.Eventf(mv, nil, corev1.EventTypeWarning, eventRebuildIgnored, "Build", "%s", step.Ignored)
	}
	if problem := step.LineageProblem; problem != nil {
		r.Recorder.Eventf(mv, nil, corev1.EventTypeWarning, problem.Reason, "Build", "%s", note(problem.Message))
	}
	if err := r.patchWorkflows(ctx, step); err != nil {
		return 0, err
	}
	return step.RequeueAfter, r.pruneHistory(ctx, step.Delete)
}

// act adopts the ModelVersion, decides, and creates what the decision needs. It
// returns the step with the status that is true then.
func (r *ModelVersionReconciler) act(ctx context.Context, observed *lifecycle.Observed) (lifecycle.Step, error) {
	mv := observed.Version
	cached := mv.ResourceVersion
	var err error
	if observed.ModelTerminating, err = r.adopt(ctx, mv); err != nil {
		return lifecycle.Step{}, err
	}
	if err := r.observeTraining(ctx, mv, observed); err != nil {
		return lifecycle.Step{}, err
	}
	step := lifecycle.NextStep(*observed, r.Options)
	if step.Create == nil {
		return step, r.prepareVolume(ctx, mv, step.Volume)
	}
	// An adoption has just shown that the ModelVersion was fresh.
	if mv.ResourceVersion == cached {
		if err := r.ensureFresh(ctx, mv); err != nil {
			return lifecycle.Step{}, err
		}
	}
	if observed.UserAssigned, err = r.Namespaces.prepare(ctx, mv.Namespace); err != nil {
		return lifecycle.Step{}, err
	}
	if observed.UserAssigned { // This is an argument of the Workflow.
		step = lifecycle.NextStep(*observed, r.Options)
	}
	if err := r.prepareVolume(ctx, mv, step.Volume); err != nil {
		return lifecycle.Step{}, err
	}
	created, err := r.create(ctx, mv, step.Create)
	switch {
	case err != nil:
		return lifecycle.Step{}, err
	case created == nil:
		step.Status = lifecycle.NameConflict(*observed, step.Create.Name)
	default:
		observed.Workflows = append(observed.Workflows, created)
		r.waits.since(client.ObjectKeyFromObject(mv), lifecycle.WaitsFor(lifecycle.Observed{Followed: created}), observed.Now)
		step.Status = lifecycle.Follow(*observed, created, r.Options)
	}
	return step, nil
}

// complete completes the lists of owners and finalizers, which a patch replaces as a
// whole, if the cache does not have all of them.
func (r *ModelVersionReconciler) complete(ctx context.Context, mv *v1alpha1.ModelVersion) error {
	if _, reduced := mv.Annotations[annotationReduced]; !reduced {
		return nil
	}
	return r.ensureFresh(ctx, mv)
}

// ensureFresh returns a conflict if the cached ModelVersion is stale. Otherwise a
// ModelVersion that has finished since, and whose Workflow was deleted, would be
// built again.
func (r *ModelVersionReconciler) ensureFresh(ctx context.Context, mv *v1alpha1.ModelVersion) error {
	var live v1alpha1.ModelVersion
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(mv), &live); err != nil {
		return fmt.Errorf("get ModelVersion %q: %w", mv.Name, err)
	}
	if live.ResourceVersion != mv.ResourceVersion {
		resource := v1alpha1.GroupVersion.WithResource("modelversions").GroupResource()
		return apierrors.NewConflict(resource, mv.Name, errors.New("the cache is behind"))
	}
	mv.OwnerReferences, mv.Finalizers = live.OwnerReferences, live.Finalizers
	return nil
}

// create creates the Workflow, or returns the one that an earlier pass created
// and that the cache does not show yet. It returns nil when a Workflow that the
// ModelVersion does not control has the name.
func (r *ModelVersionReconciler) create(ctx context.Context, mv *v1alpha1.ModelVersion, wf *wfv1.Workflow) (*wfv1.Workflow, error) {
	err := r.Client.Create(ctx, wf)
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Created Workflow", "Workflow", klog.KObj(wf))
		r.Metrics.AttemptCreated(wf.Namespace)
		return wf, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("create Workflow %q: %w", wf.Name, err)
	}
	existing, err := r.reader.get(ctx, client.ObjectKeyFromObject(wf))
	var invalid errInvalidWorkflow
	switch {
	case errors.As(err, &invalid):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get Workflow %q: %w", wf.Name, err)
	case !metav1.IsControlledBy(existing, mv):
		return nil, nil
	}
	return existing, nil
}

// pruneHistory deletes Workflows beyond the history limit, and one that Argo has lost.
func (r *ModelVersionReconciler) pruneHistory(ctx context.Context, workflows []*wfv1.Workflow) error {
	for _, wf := range workflows {
		// The preconditions protect a Workflow that a user has just retried.
		seen := client.Preconditions{UID: &wf.UID, ResourceVersion: &wf.ResourceVersion}
		if err := r.Client.Delete(ctx, wf, seen, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete Workflow %q: %w", wf.Name, err)
		}
	}
	return nil
}

// patchWorkflows updates the arguments of a Workflow, makes Argo look at it again, or
// terminates it as argo terminate does.
func (r *ModelVersionReconciler) patchWorkflows(ctx context.Context, step lifecycle.Step) error {
	if wf := step.Update; wf != nil {
		arguments := map[string]any{"parameters": wf.Spec.Arguments.Parameters}
		if err := r.patchWorkflow(ctx, wf, map[string]any{}, map[string]any{"arguments": arguments}); err != nil {
			return err
		}
	}
	if wf := step.Resync; wf != nil {
		// Argo ignores a Workflow that has its label for those that have ended.
		metadata := map[string]any{"annotations": wf.Annotations, "labels": map[string]any{labelCompleted: nil}}
		if err := r.patchWorkflow(ctx, wf, metadata, nil); err != nil {
			return err
		}
	}
	if wf := step.Terminate; wf != nil {
		return r.patchWorkflow(ctx, wf, map[string]any{}, map[string]any{"shutdown": wfv1.ShutdownStrategyTerminate})
	}
	return nil
}

// describe has a Workflow, if any, say in the Argo UI why it has failed. That is a service
// for people, and no pass is repeated because the API server rejects it. A change since
// the Workflow was read causes another pass.
func (r *ModelVersionReconciler) describe(ctx context.Context, wf *wfv1.Workflow) error {
	if wf == nil {
		return nil
	}
	labels := map[string]any{}
	for name, value := range wf.Labels {
		if labels[name] = value; value == "" {
			labels[name] = nil
		}
	}
	err := r.patchWorkflow(ctx, wf, map[string]any{"annotations": wf.Annotations, "labels": labels}, nil)
	if apierr.IsRejected(err) {
		r.Metrics.WriteRejected()
		ctrl.LoggerFrom(ctx).Info("The API server rejects the description of a Workflow", "Workflow", klog.KObj(wf), "error", err.Error())
		return nil
	}
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// patchWorkflow patches a Workflow, unless it has changed since it was read: Argo may
// have started it, or a user may have retried it. Argo's objects are patched and never
// updated, because they include Argo's status.
func (r *ModelVersionReconciler) patchWorkflow(ctx context.Context, wf *wfv1.Workflow, metadata, spec map[string]any) error {
	metadata["resourceVersion"] = wf.ResourceVersion
	content := map[string]any{"metadata": metadata}
	if spec != nil {
		content["spec"] = spec
	}
	patch, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode the patch of Workflow %q: %w", wf.Name, err)
	}
	// The response is decoded too, as metadata: a user may have edited the rest.
	target := metadataOf(argoKinds[0])
	target.Namespace, target.Name = wf.Namespace, wf.Name
	if err := r.Client.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch Workflow %q: %w", wf.Name, err)
	}
	return nil
}

// patchStatus writes the status, if it differs, and then emits the event and
// counts what has ended. It is called once a pass. A status that the API server
// rejects is replaced by one that says so, which it accepts: the same Workflow
// would lead to the same status at every pass.
func (r *ModelVersionReconciler) patchStatus(ctx context.Context, observed lifecycle.Observed, next v1alpha1.ModelVersionStatus) error {
	mv := observed.Version
	before := mv.DeepCopy()
	err := r.writeStatus(ctx, mv, next)
	if apierrors.IsInvalid(err) {
		r.Metrics.WriteRejected()
		before.DeepCopyInto(mv)
		err = r.writeStatus(ctx, mv, lifecycle.Unstorable(before, err.Error()))
	}
	if err != nil {
		return fmt.Errorf("patch status: %w", err)
	}
	r.recordTransition(ctx, mv, before.Status.Conditions)
	if message := lifecycle.LineageContradiction(mv, before.Status); message != "" {
		r.Recorder.Eventf(mv, nil, corev1.EventTypeWarning, lifecycle.EventLineageContradiction, "Build", "%s", note(message))
	}
	if mv.Status.ImageBuildPhase == v1alpha1.ImageBuildFailed {
		// A user may have deleted what the build needed.
		r.Namespaces.forget(mv.Namespace)
	}
	if completion := lifecycle.Completed(before.Status, mv.Status); completion != nil {
		r.Metrics.AttemptCompleted(mv.Namespace, *completion, lifecycle.StepSeconds(*completion, observed.Workflows))
	}
	return nil
}

// writeStatus patches the status, if it differs. The conditions that changed, and a
// failure without a Workflow, get the current time.
func (r *ModelVersionReconciler) writeStatus(ctx context.Context, mv *v1alpha1.ModelVersion, next v1alpha1.ModelVersionStatus) error {
	// In the API server's precision, so that what is written equals what is read.
	now := ptr.To(metav1.NewTime(r.Now())).Rfc3339Copy()
	for i := range next.Conditions {
		if next.Conditions[i].LastTransitionTime.IsZero() {
			next.Conditions[i].LastTransitionTime = now
		}
	}
	if next.FinishTime != nil && next.FinishTime.IsZero() {
		next.FinishTime = &now
	}
	if equality.Semantic.DeepEqual(mv.Status, next) {
		return nil
	}
	before := mv.DeepCopy()
	mv.Status = next
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, mv, patch); err != nil {
		return err
	}
	if !lifecycle.IsFinished(mv) { // Otherwise no other pass is to be expected.
		r.replaced.add(client.ObjectKeyFromObject(mv), before.ResourceVersion)
	}
	return nil
}

// recordTransition emits an event when the reason of the Ready condition has
// changed, and when there is news about an image that was built. The usual course of a
// build is in the status, and Argo emits events about its Workflow.
func (r *ModelVersionReconciler) recordTransition(ctx context.Context, mv *v1alpha1.ModelVersion, before []metav1.Condition) {
	ready := meta.FindStatusCondition(mv.Status.Conditions, v1alpha1.ConditionReady)
	previous := meta.FindStatusCondition(before, v1alpha1.ConditionReady)
	if ready == nil || previous != nil && previous.Reason == ready.Reason && (previous.Message == ready.Message || ready.Status != metav1.ConditionTrue) {
		return
	}
	kind := corev1.EventTypeNormal
	if meta.IsStatusConditionTrue(mv.Status.Conditions, v1alpha1.ConditionStalled) {
		kind = corev1.EventTypeWarning
	}
	ctrl.LoggerFrom(ctx).Info("Status changed", "reason", ready.Reason, "message", ready.Message)
	if ready.Reason == v1alpha1.ReasonWorkflowPending || ready.Reason == v1alpha1.ReasonWorkflowRunning {
		return
	}
	r.Recorder.Eventf(mv, nil, kind, ready.Reason, "Build", "%s", note(ready.Message))
}

// eventRebuildIgnored is the reason of an event on a ModelVersion for which a
// requested rebuild has no effect.
const eventRebuildIgnored = "RebuildIgnored"

// maxNote is the number of bytes that the note of an event may have.
const maxNote = 1024

// note returns as much of a message as an event can hold.
func note(message string) string { return text.TruncateBytes(message, maxNote) }
