package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/installation"
)

// checker returns the configuration of a client with the permissions that the test of
// deploy/chart has.
func checker(t *testing.T, s sandbox) *rest.Config {
	t.Helper()
	shared.clientWithRules(t, s.namespace, "modelkiln-test", []rule{{"model.kubedl.io", "modelversions", "list"}, {"model.kubedl.io", "models", "create"}})
	return shared.serviceAccountConfig(t, s.namespace, "modelkiln-test")
}

func TestInstallationCheck(t *testing.T) {
	t.Run("the webhooks answer", func(t *testing.T) {
		startWithWebhook(t)
		s := newSandbox(t, shared)
		rc := checker(t, s)
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			require.NoError(c, installation.Check(t.Context(), rc, s.namespace, true))
		}, deadline, tick, "the API server loads the webhooks and the roles after a moment")
		var models v1alpha1.ModelList
		require.NoError(t, s.client.List(t.Context(), &models))
		for _, m := range models.Items {
			assert.NotEqual(t, s.namespace, m.Namespace, "nothing is stored")
		}
	})
	t.Run("no operator runs", func(t *testing.T) {
		installWebhook(t, shared, freeAddress(t))
		s := newSandbox(t, shared)
		rc := checker(t, s)
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			err := installation.Check(t.Context(), rc, s.namespace, true)
			require.ErrorContains(c, err, "failed calling webhook \"promoter.model.kubedl.io\"")
			require.ErrorContains(c, err, "The API server must reach port 9443 of the operator")
		}, deadline, tick)
	})
	t.Run("no webhooks", func(t *testing.T) {
		s := newSandbox(t, shared)
		rc := checker(t, s)
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			require.NoError(c, installation.Check(t.Context(), rc, s.namespace, false))
			require.ErrorContains(c, installation.Check(t.Context(), rc, s.namespace, true), "the MutatingWebhookConfiguration modelkiln-pods does not exist")
		}, deadline, tick)
	})
	t.Run("no permission", func(t *testing.T) {
		s := newSandbox(t, shared)
		rc := shared.serviceAccountConfig(t, s.namespace, "nobody")
		require.ErrorContains(t, installation.Check(t.Context(), rc, s.namespace, true), "list ModelVersions in namespace "+s.namespace+": modelversions.model.kubedl.io is forbidden")
	})
	t.Run("no CRDs", func(t *testing.T) {
		server := newAPIServer(t, argoCRDs())
		require.ErrorContains(t, installation.Check(t.Context(), server.config, "default", true), "The CRDs are not installed")
	})
}
