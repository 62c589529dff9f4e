//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// TestKiln calls the commands of kubectl kiln as a user who has only the roles that are
// shipped for users.
func TestKiln(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	user := live.shippedUser(t, ns)
	kiln := func(args ...string) string {
		t.Helper()
		return run(t, "kubectl", append([]string{"kiln", "-n", ns, "--as", user}, args...)...)
	}
	fails := func(args ...string) string {
		t.Helper()
		_, err := try(t.Context(), "kubectl", append([]string{"kiln", "-n", ns, "--as", user}, args...)...)
		require.Error(t, err)
		return err.Error()
	}
	dir := newDirectory(t)
	dir.write(t, "config.json", "{}")
	dir.write(t, "model.bin", "weights")
	image := live.registry + "/kiln/" + ns
	create := []string{"--model", "kiln", "--image", image, "--local", nodeName + ":" + string(dir), "--engine", "Stream", "--wait"}

	assert.Contains(t, kiln(append([]string{"create", "first"}, create...)...), "first is ready: "+image)
	logs := kiln("logs", "first")
	assert.Contains(t, logs, contract.StepMountCheck+"   │ ")
	assert.Contains(t, logs, contract.StepStatusReport+" │ ")
	assert.Contains(t, kiln("get", "kiln"), "Ready")
	assert.Contains(t, kiln("why", "first"), "first is ready")
	assert.Contains(t, kiln("verify", "first", "--deep", "--plain-http", live.registry), "all 2 files")

	dir.write(t, "model.bin", "better weights")
	following, stop := context.WithTimeout(t.Context(), buildTime)
	defer stop()
	kiln("create", "second", "--model", "kiln", "--image", image, "--local", nodeName+":"+string(dir), "--engine", "Stream")
	followed, err := try(following, "kubectl", "kiln", "-n", ns, "--as", user, "logs", "-f", "second")
	require.NoError(t, err)
	assert.Contains(t, followed, "pushed and verified")
	assert.Contains(t, kiln("wait", "second", "--timeout", "1m"), "second is ready")
	assert.Contains(t, kiln("diff", "first", "second", "--plain-http", live.registry), "model.bin")
	target := filepath.Join(t.TempDir(), "files")
	kiln("export", "second", target, "--plain-http", live.registry)
	content, err := os.ReadFile(filepath.Join(target, "model.bin"))
	require.NoError(t, err)
	assert.Equal(t, "better weights", string(content))

	assert.Contains(t, kiln("promote", "kiln", "production", "first"), "production of kiln: nothing -> first")
	kiln("promote", "kiln", "production", "second")
	assert.Contains(t, kiln("rollback", "kiln", "production"), "production of kiln: second -> first")
	assert.Contains(t, kiln("tree", "kiln"), "production → first")
	assert.Contains(t, fails("delete", "first"), "alias production of Model kiln")
	kiln("delete", "second")

	// What works before and after a failure.
	empty := newDirectory(t)
	kiln("create", "third", "--model", "kiln", "--image", image, "--local", nodeName+":"+string(empty), "--engine", "Stream")
	assert.Contains(t, fails("wait", "third", "--timeout", buildTime.String()), v1alpha1.ReasonSourceEmpty)
	assert.Contains(t, kiln("why", "third"), v1alpha1.ReasonSourceEmpty)
	empty.write(t, "model.bin", "weights")
	assert.Contains(t, kiln("retry", "third", "--wait"), "third is ready")
	mv := &v1alpha1.ModelVersion{}
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "third"}, mv))
	assert.Equal(t, v1alpha1.ImageBuildSucceeded, mv.Status.ImageBuildPhase)
	assert.Contains(t, kiln("doctor"), "ok    the webhook answers")
	assert.Contains(t, kiln("version"), contract.StreamTemplate)
}

// TestKilnPackage makes an image without the cluster, in the cluster's registry.
func TestKilnPackage(t *testing.T) {
	t.Parallel()
	dir := newDirectory(t)
	dir.write(t, "model.bin", "weights")
	image := live.registry + "/kiln/laptop:v" + time.Now().UTC().Format("20060102150405")
	packaged := run(t, "kubectl", "kiln", "package", string(dir), image, "--base-image", "scratch", "--plain-http", live.registry)
	digest := strings.TrimSpace(run(t, "crane", "digest", "--insecure", image))
	assert.Equal(t, image+"@"+digest+"\n", packaged)
}
