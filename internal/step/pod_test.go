package step

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

const versionUID = "7d2c1c07-2f0e-4d4f-8d54-3f1a1c1f0a52"

// pod is where the steps of a build run: the directories of its containers, and a
// registry.
type pod struct {
	dir, host string
	repo, tag string
	base      string
	uid       string
	// known is the digest that an earlier attempt reported.
	known  string
	secret string
	// created is when the ModelVersion was created, and modelPath where the model is in
	// the image; the defaults if empty.
	created, modelPath string
	// streams selects the engine Stream instead of Kaniko. The fields below it are
	// flags of Stream.
	streams                                bool
	previous, compression, changeDetection string
	skipsDigests                           bool
	// workflowUID identifies the Workflow in provenances, and signing are further flags of
	// status-report.
	workflowUID string
	signing     []string
	// storage are the storage flags of mount-check.
	storage []string
	// registry is the handler of the registry; a test may replace it.
	registry *switchHandler
}

// switchHandler is a handler that can be replaced.
type switchHandler struct {
	mu      sync.Mutex
	current http.Handler
}

func (s *switchHandler) get() http.Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

func (s *switchHandler) set(handler http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = handler
}

func (s *switchHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.get().ServeHTTP(w, r)
}

func newPod(t *testing.T) *pod {
	t.Helper()
	// The path of T.TempDir may be too long for a socket.
	dir, err := os.MkdirTemp("", "pod") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range []string{"kiln", "source", "push-secret", "kaniko", "image"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	registry := &switchHandler{current: memory.New(memory.Logger(log.New(io.Discard, "", 0)))}
	server := httptest.NewServer(registry)
	t.Cleanup(server.Close)
	p := &pod{
		dir: dir, host: strings.TrimPrefix(server.URL, "http://"), repo: "models/resnet", tag: "v1",
		base: "scratch", uid: versionUID, workflowUID: "wf-1", secret: "regcred", registry: registry,
		storage: []string{"--storage-kind=persistentVolumeClaim"},
	}
	p.write(t, "termination-log", "")
	t.Setenv(program, "kaniko")
	t.Setenv(kanikoDir, p.path("kaniko"))
	return p
}

func (p *pod) path(name string) string { return filepath.Join(p.dir, name) }

func (p *pod) write(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	require.NoError(t, os.WriteFile(p.path(name), []byte(content), 0o600))
}

func (p *pod) image() string { return p.host + "/" + p.repo + ":" + p.tag }

// layerSize is the size from which a file has its own layer: less than the default,
// so that models and images are small.
const layerSize = 1 << 20

func (p *pod) run(t *testing.T, command string, args ...string) (code int, printed string) {
	t.Helper()
	var out bytes.Buffer
	code = Main(t.Context(), append(p.command(command), args...), &out, &out)
	return code, out.String()
}

func (p *pod) command(name string) []string {
	return []string{name, "--shared=" + p.path("kiln"), "--termination-log=" + p.path("termination-log")}
}

func (p *pod) registryArgs() []string {
	return []string{
		"--image=" + p.image(), "--plain-http=" + p.host, "--push-secret=" + p.secret,
		"--push-secret-dir=" + p.path("push-secret"), "--registry-ca=" + p.path("ca.crt"),
	}
}

func (p *pod) mountCheck(t *testing.T, args ...string) (int, string) {
	t.Helper()
	all := append(p.registryArgs(), p.storage...)
	all = append(all, "--base-image="+p.base, "--push-secret-required=false", "--workflow-uid=wf-1",
		"--model=resnet", "--model-version=resnet-v1", "--model-version-uid="+p.uid, "--known-digest="+p.known, "--source="+p.path("source"), "--program="+os.Args[0], fmt.Sprintf("--layer-size=%d", layerSize))
	if p.streams {
		all = append(all, "--engine=Stream")
	}
	if p.modelPath != "" {
		all = append(all, "--model-path="+p.modelPath)
	}
	return p.run(t, "mount-check", append(all, args...)...)
}

func (p *pod) build(t *testing.T) (int, string) {
	t.Helper()
	if p.streams {
		args := append(p.imageArgs(), "--previous-image="+p.previous, "--compression="+p.compression, "--change-detection="+p.changeDetection)
		if p.skipsDigests {
			args = append(args, "--file-digests=Skip")
		}
		return p.run(t, "stream", args...)
	}
	return p.run(t, "build", p.buildArgs()...)
}

func (p *pod) imageArgs() []string {
	return append(p.registryArgs(), "--base-image="+p.base, "--model=resnet", "--model-version=resnet-v1",
		"--model-version-uid="+p.uid, "--created-by=Ann+O%27Hara%0A%22%24HOME%22", "--created="+p.created)
}

func (p *pod) buildArgs() []string {
	return append(p.imageArgs(), "--executor="+os.Args[0], "--kaniko-dir="+p.path("kaniko"), "--image-root="+p.path("image"))
}

func (p *pod) statusReport(t *testing.T) (int, string) {
	t.Helper()
	args := append(p.registryArgs(), "--model-version-uid="+p.uid, "--signing-secret=modelkiln-signing", "--signing-secret-dir="+p.path("signing-secret"),
		"--namespace=ml", "--workflow-name=resnet-v1-1", "--workflow-uid="+p.workflowUID, "--workflow-created=2026-11-29T01:02:03Z")
	return p.run(t, "status-report", append(args, p.signing...)...)
}

// allSteps runs the steps until one fails.
func (p *pod) allSteps(t *testing.T) (code int, printed string) {
	t.Helper()
	for _, step := range []func(t *testing.T) (int, string){
		func(t *testing.T) (int, string) { return p.mountCheck(t) }, p.build, p.statusReport,
	} {
		if code, printed = step(t); code != exitOK {
			break
		}
	}
	return code, printed
}

// newBuiltPod returns a pod whose steps have built a small model.
func newBuiltPod(t *testing.T) *pod {
	t.Helper()
	p := newPod(t)
	p.write(t, "source/config.json", "{}")
	p.write(t, "source/w.bin", "weights")
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	p.recreate(t)
	return p
}

// recreate replaces the files of the pod's containers, as in another attempt.
func (p *pod) recreate(t *testing.T) {
	t.Helper()
	for _, name := range []string{"kaniko", "image"} {
		require.NoError(t, os.RemoveAll(p.path(name)))
		require.NoError(t, os.Mkdir(p.path(name), 0o755))
	}
}

func (p *pod) report(t *testing.T) report.Report {
	t.Helper()
	r, err := report.Read(p.path("kiln"))
	require.NoError(t, err)
	return r
}

// expectation returns what status-report expects in the registry.
func (p *pod) expectation(t *testing.T) handoff.Expectation {
	t.Helper()
	expectation, err := handoff.Dir(p.path("kiln")).ReadExpectation()
	require.NoError(t, err)
	return expectation
}

// expectedLayers returns the layers that status-report expects in the image.
func (p *pod) expectedLayers(t *testing.T) []layer.BuiltLayer {
	t.Helper()
	return p.expectation(t).Layers
}

// assertFailed asserts that a step failed, with the same message in the report, in
// the termination message and in the log.
func (p *pod) assertFailed(t *testing.T, step, reason, message string, code int, printed string) {
	t.Helper()
	require.Equal(t, exitFailed, code, printed)
	failed := p.report(t).Failure
	require.NotNil(t, failed, printed)
	assert.Equal(t, step, failed.Step)
	assert.Equal(t, reason, failed.Reason, failed.Message)
	assert.Contains(t, failed.Message, message)
	assert.LessOrEqual(t, len([]rune(failed.Message)), 500)
	assert.NotContains(t, failed.Message, "\n")
	assert.Contains(t, printed, "FAILED "+reason+": "+failed.Message)
	terminationMessage, err := os.ReadFile(p.path("termination-log"))
	require.NoError(t, err)
	assert.Equal(t, reason+": "+failed.Message, string(terminationMessage))
}

// push pushes an image.
func (p *pod) push(t *testing.T, image v1.Image, reference string) {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, image))
}

// byDigest returns the reference by digest of the image at the tag.
func (p *pod) byDigest(t *testing.T) string {
	t.Helper()
	return p.host + "/" + p.repo + "@" + p.digest(t)
}

func (p *pod) digest(t *testing.T) string {
	t.Helper()
	return p.descriptor(t).Digest.String()
}

// descriptor returns what the tag refers to: an image or an index.
func (p *pod) descriptor(t *testing.T) *remote.Descriptor {
	t.Helper()
	ref, err := name.ParseReference(p.image(), name.Insecure)
	require.NoError(t, err)
	descriptor, err := remote.Get(ref)
	require.NoError(t, err)
	return descriptor
}

// pull returns the image at the tag; of an index, that for linux/amd64.
func (p *pod) pull(t *testing.T) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(p.image(), name.Insecure)
	require.NoError(t, err)
	image, err := remote.Image(ref)
	require.NoError(t, err)
	return image
}

func configured(t *testing.T, image v1.Image, config v1.Config) v1.Image {
	t.Helper()
	image, err := mutate.Config(image, config)
	require.NoError(t, err)
	return image
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(100, 1)
	require.NoError(t, err)
	return image
}
