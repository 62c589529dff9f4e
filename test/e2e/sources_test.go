//go:build e2e

package e2e

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/sources/gateway"
	"github.com/modelkiln/modelkiln/test/sources/hub"
)

// Ports of this machine that the operator's configuration allows
// (test/cluster/internal/cluster/overlay).
const (
	gatewayPort    = "7480"
	hubPort        = "7481"
	hubStoragePort = "7482"
)

// templateFor creates a platform team's copy of an engine's template, whose build may
// read storage that is not mounted.
func templateFor(t *testing.T, engine, name string, flags ...string) {
	t.Helper()
	template := &wfv1.ClusterWorkflowTemplate{}
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Name: engine}, template))
	template.ObjectMeta = metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelBuildTemplate: "true"}}
	args := containerOf(t, template, contract.StepMountCheck).Args
	for i, arg := range args {
		for _, flag := range flags {
			if key, _, _ := strings.Cut(flag, "="); strings.HasPrefix(arg, key+"=") {
				args[i] = flag
			}
		}
	}
	live.create(t, template)
	live.deleteAfter(t, template)
}

// repositoryOf returns the files of a directory as those of a hub's repository.
func repositoryOf(t *testing.T, dir directory, commit string) hub.Repository {
	t.Helper()
	repo := hub.Repository{Name: "team/llama", Commit: commit, Revisions: []string{"main"}, Files: map[string]hub.File{}, Gated: true}
	require.NoError(t, filepath.WalkDir(string(dir), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, string(dir)+"/")
		file := hub.File{Content: bytes.NewReader(raw), Size: int64(len(raw)), Large: len(raw) > 1<<20}
		repo.Files[name] = file
		return nil
	}))
	return repo
}

// A repository that needs a token is streamed, and the next version reads and sends only
// what has changed. The build's pod conforms to the level restricted.
func TestHuggingFace(t *testing.T) {
	t.Parallel()
	ns := live.restrictedNamespace(t)
	const large = 70 << 20
	dir := newDirectory(t)
	dir.random(t, "embeddings.bin", large)
	dir.random(t, "weights.bin", large)
	dir.write(t, "config.json", "{}")
	first, second := strings.Repeat("1", 40), strings.Repeat("2", 40)
	machine := live.machine(t).String()
	server := hub.StartAt(t, net.JoinHostPort(machine, hubPort), net.JoinHostPort(machine, hubStoragePort))
	server.AddToken("hf-secret", true)
	server.Put(repositoryOf(t, dir, first))
	live.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "hf-token"}, StringData: map[string]string{"token": "hf-secret"}})
	allowed := "--allowed-hugging-face=" + server.URL + "," + server.Storage
	templateFor(t, contract.StreamTemplate, ns, allowed)

	version := func(name string) *builders.ModelVersionWrapper {
		return builders.MakeModelVersion(name, ns).Model("llama").ImageRepo(live.registry+"/e2e/"+ns).
			HuggingFace(server.URL, "team/llama").SourceSecret("hf-token").Engine(v1alpha1.Stream).WorkflowTemplate(ns)
	}
	built := live.built(t, version("v1").New())
	image := assertImage(t, built, dir)
	assert.Equal(t, first, built.Status.Source.Revision)
	assert.Regexp(t, "^sha256:[0-9a-f]{64}$", built.Status.Source.Digest)
	assert.Equal(t, first, image.Config.Labels["org.opencontainers.image.revision"])
	assert.Equal(t, server.URL+"/team/llama", image.Config.Labels["org.opencontainers.image.source"])
	live.latest(t, built)

	// The path decides the content.
	dir.random(t, "other-weights.bin", large)
	require.NoError(t, os.Rename(dir.at("other-weights.bin"), dir.at("weights.bin")))
	server.Put(repositoryOf(t, dir, second))
	before := server.Sent()
	next := live.built(t, version("v2").New())
	assertImage(t, next, dir)
	assert.Equal(t, second, next.Status.Source.Revision)
	assert.InDelta(t, large, next.Status.SentBytes, 100_000)
	assert.InDelta(t, large, next.Status.ReusedBytes, 100_000)
	assert.InDelta(t, large, server.Sent()-before, 1_000_000, "what has not changed is not read")

	refused, _ := live.failed(t, builders.MakeModelVersion("anonymous", ns).Model("anonymous").ImageRepo(live.registry+"/e2e/"+ns).
		HuggingFace(server.URL, "team/llama").Engine(v1alpha1.Stream).WorkflowTemplate(ns).New())
	assertFailed(t, refused, v1alpha1.ReasonSourceUnauthorized, "team/llama")
}

// A bucket is built with Kaniko, by the keys in a Secret.
func TestS3(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	programs := t.TempDir()
	// With the settings of test/registries, which has compiled the packages.
	run(t, "env", "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0", "go", "build", "-C", "../sources/tools/versitygw", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", programs+"/", "tool")
	store, err := gateway.Start(t.Context(), filepath.Join(programs, "versitygw"), net.JoinHostPort(live.machine(t).String(), gatewayPort), t.TempDir(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Stop()) })
	for name := range dir.entries(t) {
		if raw, err := os.ReadFile(dir.at(name)); err == nil {
			require.NoError(t, store.Put(t.Context(), "team-a/llama/"+name, bytes.NewReader(raw), int64(len(raw))))
		}
	}
	live.create(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "s3-reader"},
		StringData: map[string]string{"AWS_ACCESS_KEY_ID": gateway.AccessKey, "AWS_SECRET_ACCESS_KEY": gateway.SecretKey},
	})
	templateFor(t, contract.BuildTemplate, ns, "--allowed-s3="+store.Endpoint)

	mv := live.built(t, builders.MakeModelVersion("v1", ns).Model("llama").ImageRepo(live.registry+"/e2e/"+ns).
		S3(store.Endpoint, gateway.Bucket, "team-a/llama").SourceSecret("s3-reader").WorkflowTemplate(ns).New())

	image := assertImage(t, mv, dir)
	assert.Equal(t, store.Endpoint+"/"+gateway.Bucket+"/team-a/llama", image.Config.Labels["org.opencontainers.image.source"])
	assert.Equal(t, mv.Status.Source.Digest, image.Config.Labels["org.opencontainers.image.revision"])

	// The operator refuses what its list does not have, without a build.
	refused, _ := live.failed(t, builders.MakeModelVersion("other", ns).Model("other").ImageRepo(live.registry+"/e2e/"+ns).
		S3("http://169.254.169.254", "latest", "meta-data").WorkflowTemplate(ns).New())
	assertFailed(t, refused, v1alpha1.ReasonSourceForbidden, "(allowedS3)")
	assert.Nil(t, refused.Status.Workflow)
}

// A cache of Hugging Face on a claim, whose files are links into its blobs, becomes plain
// files at /kubedl-model, without what the patterns leave out.
func TestHuggingFaceCacheOnClaim(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	disk := newDirectory(t)
	disk.write(t, "models--team--llama/blobs/aaa", "{}")
	disk.random(t, "models--team--llama/blobs/bbb", 1<<20)
	disk.random(t, "models--team--llama/blobs/ccc", 1<<20)
	snapshot := "models--team--llama/snapshots/0d4b76e"
	require.NoError(t, os.MkdirAll(disk.at(snapshot), 0o755))
	for name, blob := range map[string]string{"config.json": "aaa", "weights.bin": "bbb", "optimizer.pt": "ccc"} {
		require.NoError(t, os.Symlink("../../blobs/"+blob, disk.at(snapshot+"/"+name)))
	}
	live.claimOf(t, ns, "hub-cache", disk)
	version := func(name string) *builders.ModelVersionWrapper {
		return builders.MakeModelVersion(name, ns).Model("llama").ImageRepo(live.registry+"/e2e/"+ns).Claim("hub-cache", snapshot).Engine(v1alpha1.Stream)
	}
	kept, _ := live.failed(t, version("kept").New())
	assertFailed(t, kept, v1alpha1.ReasonSourceUnsafe, "spec.build.symlinks: Follow")

	want := newDirectory(t)
	for name, blob := range map[string]string{"config.json": "aaa", "weights.bin": "bbb"} {
		raw, err := os.ReadFile(disk.at("models--team--llama/blobs/" + blob))
		require.NoError(t, err)
		want.write(t, name, string(raw))
	}
	mv := live.built(t, version("followed").FollowLinks().Exclude("optimizer*").New())
	assertImage(t, mv, want)
}
