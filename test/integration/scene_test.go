package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// scene is what most tests need: a namespace, those who act in it beside the
// operator, and what is asked of versions and models.
type scene struct {
	t         *testing.T
	client    client.WithWatch
	namespace string
	argo      argoStandIn
	kubelet   kubeletStandIn
}

func newScene(t *testing.T, server *apiServer) scene {
	t.Helper()
	namespace := server.namespace(t)
	return scene{
		t: t, client: server.admin, namespace: namespace,
		argo:    argoStandIn{t: t, client: server.admin, namespace: namespace},
		kubelet: kubeletStandIn{t: t, client: server.admin},
	}
}

// newBuild is a scene with a version, and with the Workflow that the operator
// has made for it.
func newBuild(t *testing.T, changes ...change) (scene, *wfv1.Workflow) {
	t.Helper()
	s := newScene(t, shared)
	s.apply(localVersion, changes...)
	return s, s.argo.awaitOnlyWorkflow()
}

// in is the same scene in a test within the scene's.
func (s scene) in(t *testing.T) scene {
	s.t, s.argo.t, s.kubelet.t = t, t, t
	return s
}

// apply makes a version from a manifest with its changes.
func (s scene) apply(manifest string, changes ...change) *v1alpha1.ModelVersion {
	s.t.Helper()
	o := object(s.t, s.namespace, manifest, changes...)
	require.NoError(s.t, s.client.Create(s.t.Context(), o))
	return s.version(o.GetName())
}

// get reads an object of the scene's namespace.
func (s scene) get(t require.TestingT, name string, o client.Object) {
	require.NoError(t, s.client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, o))
}

func (s scene) version(name string) *v1alpha1.ModelVersion {
	s.t.Helper()
	mv := &v1alpha1.ModelVersion{}
	s.get(s.t, name, mv)
	return mv
}

func (s scene) model(name string) *v1alpha1.Model {
	s.t.Helper()
	m := &v1alpha1.Model{}
	s.get(s.t, name, m)
	return m
}

// absent says that the namespace has no object of this kind and name.
func (s scene) absent(name string, o client.Object) {
	s.t.Helper()
	err := s.client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, o)
	require.True(s.t, apierrors.IsNotFound(err), "%T %s exists, or: %v", o, name, err)
}

// edit changes a version as kubectl edit would.
func (s scene) edit(name string, edit func(*v1alpha1.ModelVersion)) *v1alpha1.ModelVersion {
	s.t.Helper()
	mv := s.version(name)
	before := mv.DeepCopy()
	edit(mv)
	require.NoError(s.t, s.client.Patch(s.t.Context(), mv, client.MergeFrom(before)))
	return mv
}

func (s scene) annotate(name, key, value string) {
	s.t.Helper()
	s.edit(name, func(mv *v1alpha1.ModelVersion) { metav1.SetMetaDataAnnotation(&mv.ObjectMeta, key, value) })
}

// awaitReason is a version once its Ready condition has this reason.
func (s scene) awaitReason(name, reason string) *v1alpha1.ModelVersion {
	s.t.Helper()
	mv := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		s.get(c, name, mv)
		assert.Equal(c, reason, readyReason(mv))
	}, deadline, tick, "ModelVersion %s", name)
	return mv
}

// awaitFollows is a version once its status speaks of this Workflow in this
// phase.
func (s scene) awaitFollows(name string, wf *wfv1.Workflow, phase wfv1.WorkflowPhase) *v1alpha1.ModelVersion {
	s.t.Helper()
	mv := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		s.get(c, name, mv)
		require.NotNil(c, mv.Status.Workflow)
		assert.Equal(c, [2]string{wf.Name, string(phase)}, [2]string{mv.Status.Workflow.Name, mv.Status.Workflow.Phase})
	}, deadline, tick, "ModelVersion %s", name)
	return mv
}

// buildFails ends a Workflow with the report of a step that failed, and is its
// version once that says so.
func (s scene) buildFails(wf *wfv1.Workflow, step, reason, message string) *v1alpha1.ModelVersion {
	s.t.Helper()
	s.argo.fails(wf, step, reason, message)
	return s.awaitReason(metav1.GetControllerOf(wf).Name, reason)
}

// buildSucceeds ends a Workflow with a report that proves it, and is its version
// once that is Ready.
func (s scene) buildSucceeds(wf *wfv1.Workflow) *v1alpha1.ModelVersion {
	s.t.Helper()
	s.argo.succeeds(wf)
	return s.awaitReason(metav1.GetControllerOf(wf).Name, v1alpha1.ReasonSucceeded)
}

// awaitLatest waits until a model's latest version is this one, or none.
func (s scene) awaitLatest(model string, want *v1alpha1.LatestVersion) {
	s.t.Helper()
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		m := &v1alpha1.Model{}
		s.get(c, model, m)
		assert.Equal(c, want, m.Status.LatestVersion)
	}, deadline, tick, "Model %s", model)
}

// latest is what a Model says once this version is the latest.
func (s scene) latest(name string) *v1alpha1.LatestVersion {
	s.t.Helper()
	mv := s.version(name)
	return &v1alpha1.LatestVersion{ModelVersion: name, ImageName: mv.Status.Image, Digest: digest}
}

// awaitEvent is an event of this reason on a version.
func (s scene) awaitEvent(reason string) eventsv1.Event {
	s.t.Helper()
	var found eventsv1.Event
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		var list eventsv1.EventList
		require.NoError(c, s.client.List(s.t.Context(), &list, client.InNamespace(s.namespace)))
		i := slices.IndexFunc(list.Items, func(e eventsv1.Event) bool {
			return e.Regarding.Kind == "ModelVersion" && e.Reason == reason
		})
		require.GreaterOrEqual(c, i, 0, "no event %s", reason)
		found = list.Items[i]
	}, deadline, tick)
	return found
}

func readyReason(mv *v1alpha1.ModelVersion) string {
	if ready := meta.FindStatusCondition(mv.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}
	return ""
}

// states are the conditions that a version has, by type, without their words.
func states(mv *v1alpha1.ModelVersion) map[string]metav1.ConditionStatus {
	all := map[string]metav1.ConditionStatus{}
	for _, c := range mv.Status.Conditions {
		all[c.Type] = c.Status
	}
	return all
}

// What kstatus reads from conditions.
var (
	inProgress = map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: metav1.ConditionUnknown, v1alpha1.ConditionReconciling: metav1.ConditionTrue}
	waiting    = map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: metav1.ConditionFalse, v1alpha1.ConditionReconciling: metav1.ConditionTrue}
	stalled    = map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: metav1.ConditionFalse, v1alpha1.ConditionStalled: metav1.ConditionTrue}
	ready      = map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: metav1.ConditionTrue}
)

// template makes a ClusterWorkflowTemplate that versions may name, for this
// test alone.
func (s scene) template(name string) {
	s.t.Helper()
	template := &wfv1.ClusterWorkflowTemplate{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelBuildTemplate: "true"}}}
	require.NoError(s.t, s.client.Create(s.t.Context(), template))
	s.t.Cleanup(func() {
		assert.NoError(s.t, client.IgnoreNotFound(s.client.Delete(context.WithoutCancel(s.t.Context()), template)))
	})
}

// hexDigits are the digits of a version's UID, of which automatic tags are
// made.
func hexDigits(mv *v1alpha1.ModelVersion) string {
	return strings.ReplaceAll(string(mv.UID), "-", "")
}

// rebuildCommand is what a message tells people to run for a new attempt.
func rebuildCommand(mv *v1alpha1.ModelVersion) string {
	return fmt.Sprintf(`kubectl annotate mv -n %s %s model.kubedl.io/rebuild="$(date +%%s)" --overwrite`, mv.Namespace, mv.Name)
}
