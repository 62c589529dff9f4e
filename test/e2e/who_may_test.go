//go:build e2e

package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// A build's pod stands under its namespace's Pod Security level as any pod does.
func TestABuildThatItsNamespaceDoesNotTakeSaysWhichRuleForbidsIt(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		namespace func(t *testing.T) string
		version   func(t *testing.T, ns string) *v1alpha1.ModelVersion
		says      string
	}{
		"a folder of a node, baseline": {
			namespace: live.baselineNamespace,
			version:   func(t *testing.T, ns string) *v1alpha1.ModelVersion { return makeVersion("mv", ns, model(t)).New() },
			says:      `violates PodSecurity "baseline:latest": hostPath volumes (volume "source")`,
		},
		"a folder of a node by Stream, restricted": {
			namespace: live.restrictedNamespace,
			version: func(t *testing.T, ns string) *v1alpha1.ModelVersion {
				return makeVersion("mv", ns, model(t)).Engine(v1alpha1.Stream).New()
			},
			says: `violates PodSecurity "restricted:latest": restricted volume types (volume "source" uses restricted volume type "hostPath")`,
		},
		"a share by Stream, restricted": {
			namespace: live.restrictedNamespace,
			version: func(t *testing.T, ns string) *v1alpha1.ModelVersion {
				return nfsVersion("mv", ns, shared(t, nfsExports)).Engine(v1alpha1.Stream).New()
			},
			says: `volume "source" uses restricted volume type "nfs"`,
		},
		"a claim by Kaniko, restricted": {
			namespace: live.restrictedNamespace,
			version: func(t *testing.T, ns string) *v1alpha1.ModelVersion {
				live.claimOf(t, ns, "models", model(t))
				mv := makeVersion("mv", ns, "").Claim("models", "").New()
				mv.Spec.Storage.LocalStorage = nil
				return mv
			},
			says: `violates PodSecurity "restricted:latest"`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := tt.namespace(t)

			mv, took := live.failed(t, tt.version(t, ns))

			assertRefusal(t, mv, v1alpha1.ReasonPodForbidden, tt.says)
			logSeen(t, mv, took)
			assert.Contains(t, run(t, "kubectl", "describe", "mv", "-n", ns, mv.Name), v1alpha1.ReasonPodForbidden)
			pods, err := live.podsOf(t.Context(), ns, mv.Status.Workflow.Name)
			require.NoError(t, err)
			assert.Empty(t, pods)
		})
	}
}
