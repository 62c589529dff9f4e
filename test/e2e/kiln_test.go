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

	// The tag of an alias moves to what a workstation has packaged, and from it.
	kiln("package", string(dir), image+":packaged", "--model", "kiln", "--base-image", "scratch", "-q", "--plain-http", live.registry)
	assert.Contains(t, kiln("create", "fourth", "--model", "kiln", "--from-image", image+":packaged", "--engine", "Stream", "--plain-http", live.registry, "--wait"), "fourth is ready")
	for _, name := range []string{"fourth", "third"} {
		require.NoError(t, live.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, mv))
		live.promote(t, mv)
	}
	assert.Contains(t, kiln("rollback", "kiln", "production"), "production of kiln: third -> fourth")

	assert.Contains(t, kiln("doctor"), "ok    the webhook answers")
	assert.Contains(t, kiln("version"), contract.StreamTemplate)
}

// TestKilnLineage goes from a pod to the data that its model was trained with, and back, as
// a user who has only the roles that are shipped for users, and a public key.
func TestKilnLineage(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	user := live.shippedUser(t, ns)
	kiln := func(args ...string) string {
		t.Helper()
		return run(t, "kubectl", append([]string{"kiln", "-n", ns, "--as", user}, args...)...)
	}
	secret, key := signingSecret(t, ns, contract.DefaultSigningSecret)
	live.create(t, secret)
	public := filepath.Join(t.TempDir(), "cosign.pub")
	require.NoError(t, os.WriteFile(public, key.PEM(), 0o600))
	base := makeVersion("base", ns, model(t)).Model("faces").Engine(v1alpha1.Stream).New()
	base.Spec.Lineage = &v1alpha1.Lineage{Datasets: []v1alpha1.Resource{{Name: "faces", URI: "s3://data/faces/v3"}}}
	base = live.built(t, base)

	dir := newDirectory(t)
	tuned := makeVersion("tuned", ns, dir).Model("faces").Engine(v1alpha1.Stream).TrainedBy("batch/v1", "Job", "train").New()
	live.create(t, tuned)
	live.waitsForTraining(t, tuned, "Job train")
	job := live.training("train", ns, "tuned", `echo weights > /kubedl-model/model.bin; (echo ---; echo "license: apache-2.0"; echo ---) > /kubedl-model/README.md`)
	job.Annotations = map[string]string{v1alpha1.AnnotationLineage: "baseModels: [{modelVersion: base}]"}
	job.Spec.Template.Labels[v1alpha1.LabelServeVersion] = base.Name
	job.Spec.Template.Annotations = map[string]string{v1alpha1.AnnotationMountPath: "/base"}
	live.create(t, job)
	tuned = live.ready(t, tuned)
	pod := serverPod(ns, "server")
	pod.Spec.Containers[0].Command = []string{"sleep", "3600"}
	pod.Labels[v1alpha1.LabelServeVersion] = tuned.Name
	live.create(t, pod)
	live.runs(t, pod)

	tree := kiln("tree", "server", "--key", public)
	t.Log(tree)
	for _, want := range []string{
		`serves +\S+@` + tuned.Status.Digest, `signed +verified with the key in `, `attested .*Training`, `built +Workflow tuned-\S+  template ` + contract.StreamTemplate,
		`trained +Job train uid:` + string(job.UID) + ` .* observed`, `image .*busybox.* observed`, `base +ModelVersion base +declared Job train`, `base +ModelVersion base \S+@` + base.Status.Digest + ` +observed`,
		`data +faces s3://data/faces/v3 +declared`, `card +license apache-2.0 +file README.md`,
	} {
		assert.Regexp(t, want, tree)
	}
	assert.Contains(t, kiln("tree", "pod/server"), "not verified (--key cosign.pub): you have no permission to read Secret "+ns+"/"+contract.DefaultSigningSecret)

	verified := kiln("verify", "pod/server", "--key", public, "--deep", "--plain-http", live.registry)
	t.Log(verified)
	assert.Contains(t, verified, "ok    pod server mounts the image of ModelVersion tuned: "+tuned.Status.Digest)
	assert.Contains(t, verified, "ok    the signature is valid with the key in "+public)

	users := kiln("uses", "--dataset", "s3://data/faces")
	t.Log(users)
	for _, want := range []string{
		`modelversion/base +faces s3://data/faces/v3 +trained with it \(declared`, `modelversion/tuned +modelversion/base +built on it \(declared Job train, observed\)`,
		`model/faces +modelversion/tuned +latest version`, `pod/server +modelversion/tuned +serves it, `,
	} {
		assert.Regexp(t, want, users)
	}
	assert.Equal(t, "modelversion.model.kubedl.io/tuned\npod/server\n", kiln("used-by", base.Name, "-o", "name"))
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
