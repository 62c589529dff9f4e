package integration

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Argo comes, goes and comes back under a running operator.
func TestAVersionWaitsForArgo(t *testing.T) {
	server, err := startAPIServer(modelkilnCRDs)
	require.NoError(t, err)
	t.Cleanup(server.stop)
	require.NoError(t, server.install(deployRBAC))
	s := newScene(t, server)
	s.apply(localVersion)

	op := startOperator(t, server)
	mv := s.awaitReason(resnet, v1alpha1.ReasonArgoMissing)
	assert.Equal(t, waiting, states(mv))
	assert.Equal(t, v1alpha1.ImageBuilding, mv.Status.ImageBuildPhase)
	assert.Contains(t, mv.Status.Message, "To install it: https://argo-workflows.readthedocs.io")
	assert.Equal(t, []string{"post models", "patch modelversions", "patch modelversions/status"}, op.wire.changes(s.namespace), "nothing more is tried")

	require.NoError(t, server.installCRDs(argoCRDs()))
	s.awaitReason(resnet, v1alpha1.ReasonTemplateMissing)
	s.template("modelkiln-build")
	wf := s.argo.awaitOnlyWorkflow()
	s.buildSucceeds(wf)

	s.apply(localVersion, set("metadata.name", "resnet-0"))
	failing := s.argo.awaitAttempt(s.version("resnet-0"), 1)
	failed := s.buildFails(failing, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")

	s.removeArgo()
	s.apply(localVersion, set("metadata.name", "resnet-2"))
	s.awaitReason("resnet-2", v1alpha1.ReasonArgoMissing)
	require.NoError(t, server.installCRDs(argoCRDs()))
	s.template("modelkiln-build")
	assert.Equal(t, "resnet-2", metav1.GetControllerOf(s.argo.awaitOnlyWorkflow()).Name)
	assert.Equal(t, v1alpha1.ReasonSucceeded, readyReason(s.version(resnet)), "what was built needs no Argo")
	assert.Equal(t, failed.Status, s.version("resnet-0").Status, "what failed has failed")
}

// removeArgo deletes Argo's CRDs, and with them all of its objects.
func (s scene) removeArgo() {
	s.t.Helper()
	for _, name := range []string{"workflows.argoproj.io", "clusterworkflowtemplates.argoproj.io"} {
		crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name}}
		require.NoError(s.t, s.client.Delete(s.t.Context(), crd))
		require.EventuallyWithT(s.t, func(c *assert.CollectT) {
			assert.True(c, apierrors.IsNotFound(s.client.Get(s.t.Context(), client.ObjectKeyFromObject(crd), crd)))
		}, deadline, tick)
	}
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		assert.Error(c, s.client.List(s.t.Context(), &wfv1.WorkflowList{}))
	}, deadline, tick)
}
