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
	"github.com/modelkiln/modelkiln/test/sources/hub"
)

// Ports of this machine that the operator's configuration allows
// (test/cluster/internal/cluster/overlay).
const (
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
	const large = 30 << 20
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
