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
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// A sandbox is a namespace for one test, with fakes of Argo's controller and
// the kubelet, and helpers that create, change and await objects in it.
type sandbox struct {
	t         *testing.T
	client    client.WithWatch
	namespace string
	argo      fakeArgo
	kubelet   fakeKubelet
}

func newSandbox(t *testing.T, server *apiServer) sandbox {
	t.Helper()
	namespace := server.createNamespace(t)
	return sandbox{
		t: t, client: server.admin, namespace: namespace,
		argo:    fakeArgo{t: t, client: server.admin, namespace: namespace},
		kubelet: fakeKubelet{t: t, client: server.admin},
	}
}

// startBuild creates a ModelVersion in a new sandbox and waits for its
// Workflow, which needs a running operator.
func startBuild(t *testing.T, changes ...change) (sandbox, *wfv1.Workflow) {
	t.Helper()
	s := newSandbox(t, shared)
	s.create(localVersion, changes...)
	return s, s.argo.awaitOnlyWorkflow()
}

// withT returns the same sandbox for a subtest.
func (s sandbox) withT(t *testing.T) sandbox {
	s.t, s.argo.t, s.kubelet.t = t, t, t
	return s
}

// create creates a ModelVersion from a manifest with the given changes.
func (s sandbox) create(manifest string, changes ...change) *v1alpha1.ModelVersion {
	s.t.Helper()
	o := newObject(s.t, s.namespace, manifest, changes...)
	require.NoError(s.t, s.client.Create(s.t.Context(), o))
	return s.version(o.GetName())
}

// get reads an object of the sandbox's namespace.
func (s sandbox) get(t require.TestingT, name string, o client.Object) {
	require.NoError(t, s.client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, o))
}

// refresh reads an object again.
func (s sandbox) refresh(t require.TestingT, o client.Object) {
	require.NoError(t, s.client.Get(s.t.Context(), client.ObjectKeyFromObject(o), o), "%T %s", o, o.GetName())
}

func (s sandbox) version(name string) *v1alpha1.ModelVersion {
	s.t.Helper()
	mv := &v1alpha1.ModelVersion{}
	s.get(s.t, name, mv)
	return mv
}

func (s sandbox) model(name string) *v1alpha1.Model {
	s.t.Helper()
	m := &v1alpha1.Model{}
	s.get(s.t, name, m)
	return m
}

func (s sandbox) assertAbsent(name string, o client.Object) {
	s.t.Helper()
	err := s.client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, o)
	require.True(s.t, apierrors.IsNotFound(err), "%T %s exists, or: %v", o, name, err)
}

// edit changes a ModelVersion as kubectl edit would.
func (s sandbox) edit(name string, edit func(*v1alpha1.ModelVersion)) *v1alpha1.ModelVersion {
	s.t.Helper()
	mv := s.version(name)
	before := mv.DeepCopy()
	edit(mv)
	require.NoError(s.t, s.client.Patch(s.t.Context(), mv, client.MergeFrom(before)))
	return mv
}

func (s sandbox) annotate(name, key, value string) {
	s.t.Helper()
	s.edit(name, func(mv *v1alpha1.ModelVersion) { metav1.SetMetaDataAnnotation(&mv.ObjectMeta, key, value) })
}

// labelNamespace sets a label of the sandbox's namespace.
func (s sandbox) labelNamespace(key, value string) {
	s.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, key, value))
	require.NoError(s.t, s.client.Patch(s.t.Context(), namespace, patch))
}

// enforcePodSecurity sets the Pod Security Standard level of the sandbox's
// namespace.
func (s sandbox) enforcePodSecurity(level string) {
	s.t.Helper()
	s.labelNamespace("pod-security.kubernetes.io/enforce", level)
}

// awaitReason returns a ModelVersion once its Ready condition has this reason.
func (s sandbox) awaitReason(name, reason string) *v1alpha1.ModelVersion {
	s.t.Helper()
	mv := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		s.get(c, name, mv)
		assert.Equal(c, reason, readyReason(mv))
	}, deadline, tick, "ModelVersion %s", name)
	return mv
}

// awaitMessage waits until the message of the ModelVersion resnet contains this
// text.
func (s sandbox) awaitMessage(text string) {
	s.t.Helper()
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		mv := &v1alpha1.ModelVersion{}
		s.get(c, resnet, mv)
		assert.Contains(c, mv.Status.Message, text)
	}, deadline, tick, "ModelVersion %s", resnet)
}

// awaitWorkflowPhase returns a ModelVersion once its status shows this Workflow
// in this phase.
func (s sandbox) awaitWorkflowPhase(name string, wf *wfv1.Workflow, phase wfv1.WorkflowPhase) *v1alpha1.ModelVersion {
	s.t.Helper()
	mv := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		s.get(c, name, mv)
		require.NotNil(c, mv.Status.Workflow)
		assert.Equal(c, [2]string{wf.Name, string(phase)}, [2]string{mv.Status.Workflow.Name, mv.Status.Workflow.Phase})
	}, deadline, tick, "ModelVersion %s", name)
	return mv
}

// awaitTerminated waits until the operator has terminated a Workflow.
func (s sandbox) awaitTerminated(wf *wfv1.Workflow) {
	s.t.Helper()
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		s.refresh(c, wf)
		assert.Equal(c, wfv1.ShutdownStrategyTerminate, wf.Spec.Shutdown)
	}, deadline, tick)
}

// failBuild finishes a Workflow with the report of a failed step, and returns
// its ModelVersion once that has the reason.
func (s sandbox) failBuild(wf *wfv1.Workflow, step, reason, message string) *v1alpha1.ModelVersion {
	s.t.Helper()
	s.argo.failWorkflow(wf, step, reason, message)
	return s.awaitReason(metav1.GetControllerOf(wf).Name, reason)
}

// completeBuild finishes a Workflow with a valid report, and returns its
// ModelVersion once that is Ready.
func (s sandbox) completeBuild(wf *wfv1.Workflow) *v1alpha1.ModelVersion {
	s.t.Helper()
	s.argo.completeWorkflow(wf)
	return s.awaitReason(metav1.GetControllerOf(wf).Name, v1alpha1.ReasonSucceeded)
}

// createReady creates a ModelVersion and completes its build.
func (s sandbox) createReady(changes ...change) *v1alpha1.ModelVersion {
	s.t.Helper()
	s.create(localVersion, changes...)
	return s.completeBuild(s.argo.awaitOnlyWorkflow())
}

// awaitLatest waits until a Model's latest version is this one, or none.
func (s sandbox) awaitLatest(model string, want *v1alpha1.LatestVersion) {
	s.t.Helper()
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		m := &v1alpha1.Model{}
		s.get(c, model, m)
		assert.Equal(c, want, m.Status.LatestVersion)
	}, deadline, tick, "Model %s", model)
}

// latestVersion returns what a Model's status has when this ModelVersion is the
// latest.
func (s sandbox) latestVersion(name string) *v1alpha1.LatestVersion {
	s.t.Helper()
	mv := s.version(name)
	return &v1alpha1.LatestVersion{ModelVersion: name, ImageName: mv.Status.Image, Digest: digest}
}

// awaitEvent returns an event on an object of this kind whose note contains the
// text.
func (s sandbox) awaitEvent(kind, reason, text string) eventsv1.Event {
	s.t.Helper()
	var found eventsv1.Event
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		var list eventsv1.EventList
		require.NoError(c, s.client.List(s.t.Context(), &list, client.InNamespace(s.namespace)))
		i := slices.IndexFunc(list.Items, func(e eventsv1.Event) bool {
			return e.Regarding.Kind == kind && e.Reason == reason && strings.Contains(e.Note, text)
		})
		require.GreaterOrEqual(c, i, 0, "no event %s on a %s that contains %q", reason, kind, text)
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

// conditionStatuses returns the status of each condition, by type.
func conditionStatuses(mv *v1alpha1.ModelVersion) map[string]metav1.ConditionStatus {
	all := map[string]metav1.ConditionStatus{}
	for _, c := range mv.Status.Conditions {
		all[c.Type] = c.Status
	}
	return all
}

// Conditions as kstatus reads them.
var (
	inProgress = map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: metav1.ConditionUnknown, v1alpha1.ConditionReconciling: metav1.ConditionTrue}
	waiting    = map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: metav1.ConditionFalse, v1alpha1.ConditionReconciling: metav1.ConditionTrue}
	stalled    = map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: metav1.ConditionFalse, v1alpha1.ConditionStalled: metav1.ConditionTrue}
	ready      = map[string]metav1.ConditionStatus{v1alpha1.ConditionReady: metav1.ConditionTrue}
)

// createTemplate creates a ClusterWorkflowTemplate that ModelVersions may
// select, and deletes it after the test.
func (s sandbox) createTemplate(name string) {
	s.t.Helper()
	template := &wfv1.ClusterWorkflowTemplate{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelBuildTemplate: "true"}}}
	require.NoError(s.t, s.client.Create(s.t.Context(), template))
	s.deleteAfterTest(template)
}

func (s sandbox) deleteAfterTest(o client.Object) {
	s.t.Helper()
	s.t.Cleanup(func() {
		err := s.client.Delete(context.WithoutCancel(s.t.Context()), o.DeepCopyObject().(client.Object))
		assert.NoError(s.t, client.IgnoreNotFound(err))
	})
}

// uidDigits returns the hexadecimal digits of a ModelVersion's UID, which
// automatic tags begin with.
func uidDigits(mv *v1alpha1.ModelVersion) string {
	return strings.ReplaceAll(string(mv.UID), "-", "")
}

// rebuildCommand returns the command that a message names to start another
// attempt.
func rebuildCommand(mv *v1alpha1.ModelVersion) string {
	return fmt.Sprintf(`kubectl annotate mv -n %s %s model.kubedl.io/rebuild="$(date +%%s)" --overwrite`, mv.Namespace, mv.Name)
}
