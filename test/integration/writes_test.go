package integration

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestWrites(t *testing.T) {
	op := startOperator(t, shared)

	s, wf := startBuild(t)
	s.awaitWorkflowPhase(resnet, wf, "")
	for _, step := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
		s.argo.runStep(wf, step)
		s.awaitMessage("step " + step)
	}
	s.completeBuild(wf)
	s.awaitLatest("resnet", s.latestVersion(resnet))

	// Events are sent in the background.
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		got := op.transport.summaries(s.namespace)
		slices.Sort(got)
		assert.Equal(c, []string{
			"patch configmaps",
			"patch models/status",        // the latest version
			"patch modelversions",        // the owner reference
			"patch modelversions/status", // pending
			"patch modelversions/status", // mount-check
			"patch modelversions/status", // build
			"patch modelversions/status", // status-report
			"patch modelversions/status", // succeeded
			"patch rolebindings",
			"patch serviceaccounts",
			"post events", // succeeded
			"post models",
			"post workflows",
		}, got)
	}, deadline, tick)
	for _, w := range op.transport.writes(s.namespace) {
		assert.True(t, w.status < 300 || w.status == http.StatusConflict, "%s", w)
	}

	t.Run("irrelevant changes cause no write", func(t *testing.T) {
		s := s.withT(t)
		before := len(op.transport.writes(s.namespace))
		s.annotate(resnet, "example.com/note", "1")
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { metav1.SetMetaDataLabel(&mv.ObjectMeta, "note", "1") })
		s.argo.update(wf, func(now *wfv1.Workflow) { now.Annotations["note"] = "1" })
		m := s.model("resnet")
		m.Spec.Description = ptr.To("a classifier")
		require.NoError(t, s.client.Update(t.Context(), m))
		op.drainQueue(t, shared)
		assert.Empty(t, op.transport.writes(s.namespace)[before:])
	})

	t.Run("a restart causes no write", func(t *testing.T) {
		op.stop()
		next := startOperator(t, shared)
		s.withT(t).annotate(resnet, "example.com/note", "2")
		next.drainQueue(t, shared)
		assert.Empty(t, next.transport.writes(s.namespace))
	})
}

// In every state in which a ModelVersion can wait forever, the operator sends no
// requests.
func TestWritesWhileWaiting(t *testing.T) {
	op := startOperator(t, shared, withConfig(func(c *config.Config) { c.AllowedHostPaths = []string{"/models"} }))
	op.awaitTrainingKinds(t)
	awaitPending := func(s sandbox) *wfv1.Workflow {
		wf := s.argo.awaitOnlyWorkflow()
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		return wf
	}
	cases := map[string]struct {
		manifest string
		change   change
		act      func(sandbox)
		want     string
	}{
		"for a template":                             {localVersion, build("workflowTemplate", "none"), nil, v1alpha1.ReasonTemplateMissing},
		"for a user, after a denied path":            {localVersion, set(localPath, "/exports"), nil, v1alpha1.ReasonSourceForbidden},
		"for the platform team, which allows no EFS": {efsVersion, change{}, nil, v1alpha1.ReasonSourceForbidden},
		"for Argo": {claimVersion, change{}, nil, v1alpha1.ReasonWorkflowPending},
		"for the build": {localVersion, change{}, func(s sandbox) {
			wf := awaitPending(s)
			s.argo.createPod(wf)
			// A pass that does not see the pod looks again ten seconds later.
			op.drainQueue(t, shared)
			s.argo.runStep(wf, contract.StepBuild)
		}, v1alpha1.ReasonWorkflowRunning},
		"for a user, after a failure": {localVersion, change{}, func(s sandbox) {
			s.argo.failWorkflow(awaitPending(s), contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
		}, v1alpha1.ReasonBuildFailed},
		"for the deletion of a Model": {localVersion, change{}, nil, v1alpha1.ReasonModelTerminating},
	}
	sandboxes, before := map[string]sandbox{}, map[string]int{}
	for name, tc := range cases {
		s := newSandbox(t, shared)
		sandboxes[name] = s
		if tc.want == v1alpha1.ReasonModelTerminating {
			s.terminatingModel("resnet")
		}
		s.create(tc.manifest, tc.change)
		if tc.act != nil {
			tc.act(s)
		}
		s.awaitReason(resnet, tc.want)
		if tc.want != v1alpha1.ReasonWorkflowPending && tc.want != v1alpha1.ReasonWorkflowRunning {
			s.awaitEvent("ModelVersion", tc.want, "")
		}
	}
	op.drainQueue(t, shared)
	for name, s := range sandboxes {
		before[name] = len(op.transport.requestsIn(s.namespace))
	}

	newRequests := func() []request {
		var list []request
		for name, s := range sandboxes {
			list = append(list, op.transport.requestsIn(s.namespace)[before[name]:]...)
		}
		return list
	}
	if !assert.Never(t, func() bool { return len(newRequests()) > 0 }, 3*time.Second, 10*tick) {
		t.Log(newRequests())
	}
}

// terminatingModel creates a Model that is being deleted and kept by a
// finalizer. The function that it returns completes the deletion.
func (s sandbox) terminatingModel(name string) (release func()) {
	s.t.Helper()
	m := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Finalizers: []string{"example.com/hold"}}}
	require.NoError(s.t, s.client.Create(s.t.Context(), m))
	require.NoError(s.t, s.client.Delete(s.t.Context(), m))
	release = func() {
		require.NoError(s.t, client.IgnoreNotFound(s.client.Patch(context.WithoutCancel(s.t.Context()), m, withoutFinalizers)))
	}
	s.t.Cleanup(release)
	return release
}
