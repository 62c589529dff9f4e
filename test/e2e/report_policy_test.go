//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// reservedLabel selects the namespaces in which the policies of
// deploy/policy/workflows apply.
const reservedLabel = "e2e.modelkiln/reports"

// installReportPolicies installs the policies for labeled namespaces. They stay, since
// the API server may not notice accounts that are deleted and created again.
func installReportPolicies(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "policies")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// kustomize accepts no absolute path.
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	policies, err := filepath.Abs("../../deploy/policy/workflows")
	if err != nil {
		return err
	}
	policies, err = filepath.Rel(dir, policies)
	if err != nil {
		return err
	}
	kustomization := fmt.Sprintf(`resources: [%s]
patches:
  - target: {kind: ValidatingAdmissionPolicyBinding}
    patch: |
      - op: add
        path: /spec/matchResources
        value: {namespaceSelector: {matchLabels: {%s: reserved}}}
`, policies, reservedLabel)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		return err
	}
	_, err = try(ctx, "kubectl", "apply", "--server-side", "-k", dir)
	return err
}

// reservedNamespace creates a namespace in which only Argo's controller may report
// what a build has done.
func (c *cluster) reservedNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-", Labels: map[string]string{reservedLabel: "reserved"}}}
	require.NoError(t, c.Create(t.Context(), ns))
	c.deleteAfter(t, ns)
	c.explainAfter(t, ns.Name)
	return ns.Name
}
