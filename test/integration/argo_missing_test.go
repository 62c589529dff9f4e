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

// The operator keeps running while Argo is installed, removed and installed
// again.
func TestArgoMissing(t *testing.T) {
	server := newAPIServer(t, modelkilnCRDs)
	require.NoError(t, server.install(deployRBAC))
	s := newSandbox(t, server)
	s.create(localVersion)

	op := startOperator(t, server)
	mv := s.awaitReason(resnet, v1alpha1.ReasonArgoMissing)
	assert.Equal(t, waiting, conditionStatuses(mv))
	assert.Equal(t, v1alpha1.ImageBuilding, mv.Status.ImageBuildPhase)
	assert.Contains(t, mv.Status.Message, "https://argo-workflows.readthedocs.io")
	assert.Equal(t, []string{"post models", "patch modelversions", "patch modelversions/status"}, op.transport.changes(s.namespace), "no other write is attempted")

	require.NoError(t, server.installCRDs(argoCRDs()))
	s.awaitReason(resnet, v1alpha1.ReasonTemplateMissing)
	s.createTemplate(contract.BuildTemplate)
	s.completeBuild(s.argo.awaitOnlyWorkflow())

	s.create(localVersion, set("metadata.name", "resnet-0"))
	failing := s.argo.awaitAttempt(s.version("resnet-0"), 1)
	failed := s.failBuild(failing, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")

	s.removeArgo()
	s.create(localVersion, set("metadata.name", "resnet-2"))
	s.awaitReason("resnet-2", v1alpha1.ReasonArgoMissing)
	require.NoError(t, server.installCRDs(argoCRDs()))
	s.createTemplate(contract.BuildTemplate)
	assert.Equal(t, "resnet-2", metav1.GetControllerOf(s.argo.awaitOnlyWorkflow()).Name)
	assert.Equal(t, v1alpha1.ReasonSucceeded, readyReason(s.version(resnet)), "a ModelVersion that is Ready stays Ready")
	assert.Equal(t, failed.Status, s.version("resnet-0").Status, "a ModelVersion that failed is not built again")
}

// removeArgo deletes Argo's CRDs and thereby all of its objects.
func (s sandbox) removeArgo() {
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
