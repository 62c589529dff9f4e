package integration

import (
	"context"
	"net/http"
	"slices"
	"strings"
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

func TestAVersionsLifeCostsFewWrites(t *testing.T) {
	op := startOperator(t, shared)

	s, wf := newBuild(t)
	s.awaitFollows(resnet, wf, "")
	for _, step := range []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport} {
		s.argo.runs(wf, step)
		s.awaitMessage(resnet, "runs step "+step)
	}
	s.buildSucceeds(wf)
	s.awaitLatest("resnet", s.latest(resnet))

	// Events are emitted in the background.
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		got := op.wire.words(s.namespace)
		slices.Sort(got)
		assert.Equal(c, []string{
			"patch configmaps",
			"patch models/status",        // latest
			"patch modelversions",        // its owner
			"patch modelversions/status", // pending
			"patch modelversions/status", // mount-check
			"patch modelversions/status", // build
			"patch modelversions/status", // status-report
			"patch modelversions/status", // succeeded
			"patch rolebindings",
			"patch serviceaccounts",
			"post events", // pending
			"post events", // running
			"post events", // succeeded
			"post models",
			"post workflows",
		}, got)
	}, deadline, tick)
	for _, w := range op.wire.writes(s.namespace) {
		assert.True(t, w.status < 300 || w.status == http.StatusConflict, "%s", w)
	}

	t.Run("and what changes nothing costs none", func(t *testing.T) {
		s := s.in(t)
		before := len(op.wire.writes(s.namespace))
		s.annotate(resnet, "example.com/note", "1")
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { metav1.SetMetaDataLabel(&mv.ObjectMeta, "note", "1") })
		s.argo.write(wf, func(now *wfv1.Workflow) { now.Annotations["note"] = "1" })
		m := s.model("resnet")
		m.Spec.Description = ptr.To("a classifier")
		require.NoError(t, s.client.Update(t.Context(), m))
		op.settles(t, shared)
		assert.Empty(t, op.wire.writes(s.namespace)[before:])
	})

	t.Run("and a restart costs none", func(t *testing.T) {
		op.stop()
		next := startOperator(t, shared)
		next.settles(t, shared)
		assert.Empty(t, next.wire.writes(s.namespace))
	})
}

// awaitMessage waits until a version's message ends with these words.
func (s scene) awaitMessage(name, words string) {
	s.t.Helper()
	mv := &v1alpha1.ModelVersion{}
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		s.get(c, name, mv)
		assert.True(c, strings.HasSuffix(mv.Status.Message, words), "%q does not end with %q", mv.Status.Message, words)
	}, deadline, tick)
}

// Every state that a version can wait in, for ever if need be, costs nothing
// while it lasts.
func TestWaitingCostsNothing(t *testing.T) {
	op := startOperator(t, shared, withConfig(func(c *config.Config) { c.AllowedHostPaths = []string{"/models"} }))
	cases := map[string]struct {
		manifest string
		change   change
		act      func(scene)
		want     string
	}{
		"for a template":              {localVersion, build("workflowTemplate", "there-is-none"), nil, v1alpha1.ReasonTemplateMissing},
		"for a person, who denied it": {localVersion, set(localPath, "/exports"), nil, v1alpha1.ReasonSourceForbidden},
		"for the platform team":       {efsVersion, change{}, nil, v1alpha1.ReasonSourceForbidden},
		"for Argo":                    {claimVersion, change{}, nil, v1alpha1.ReasonWorkflowPending},
		"for the build": {localVersion, change{}, func(s scene) {
			s.argo.runs(s.argo.awaitOnlyWorkflow(), contract.StepBuild)
		}, v1alpha1.ReasonWorkflowRunning},
		"for a person, after a failure": {localVersion, change{}, func(s scene) {
			s.argo.fails(s.argo.awaitOnlyWorkflow(), contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
		}, v1alpha1.ReasonBuildFailed},
		"for a Model to be gone": {localVersion, change{}, nil, v1alpha1.ReasonModelTerminating},
	}
	scenes, before := map[string]scene{}, map[string]int{}
	for name, tc := range cases {
		s := newScene(t, shared)
		scenes[name] = s
		if tc.want == v1alpha1.ReasonModelTerminating {
			s.terminatingModel("resnet")
		}
		s.apply(tc.manifest, tc.change)
		if tc.act != nil {
			tc.act(s)
		}
		s.awaitReason(resnet, tc.want)
		// The event, emitted in the background, is the last of it.
		s.awaitEvent(tc.want)
	}
	op.settles(t, shared)
	for name, s := range scenes {
		before[name] = len(op.wire.inNamespace(s.namespace))
	}

	require.Never(t, func() bool {
		for name, s := range scenes {
			if len(op.wire.inNamespace(s.namespace)) > before[name] {
				return true
			}
		}
		return false
	}, 3*time.Second, 10*tick, "the operator does not come to rest")
}

// terminatingModel makes a Model that is being deleted and that a finalizer
// holds. What is returned lets it go.
func (s scene) terminatingModel(name string) (release func()) {
	s.t.Helper()
	m := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Finalizers: []string{"example.com/hold"}}}
	require.NoError(s.t, s.client.Create(s.t.Context(), m))
	require.NoError(s.t, s.client.Delete(s.t.Context(), m))
	release = func() {
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
		require.NoError(s.t, client.IgnoreNotFound(s.client.Patch(context.WithoutCancel(s.t.Context()), m, patch)))
	}
	s.t.Cleanup(release)
	return release
}
