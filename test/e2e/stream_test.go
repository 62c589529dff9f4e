//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestAModelIsStreamed(t *testing.T) {
	t.Parallel()
	for _, compression := range []v1alpha1.Compression{v1alpha1.NoCompression, v1alpha1.Zstd} {
		t.Run(string(compression), func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := model(t)
			dir.sparse(t, "weights.bin", 70<<20)
			require.NoError(t, os.Symlink("weights.bin", dir.at("latest.bin")))
			require.NoError(t, os.Mkdir(dir.at("empty"), 0o755))
			dir.write(t, "tokens/模型 à ∞.json", "{}")

			mv := live.built(t, makeVersion("streamed", ns, dir).Engine(v1alpha1.Stream).Compression(compression).New())

			img := holds(t, mv, dir)
			assert.Contains(t, img.config.Env, "KUBEDL_MODEL_PATH=/kubedl-model")
			assert.Equal(t, "streamed", img.config.Labels[v1alpha1.LabelModelVersion])
			assert.Equal(t, contract.StreamTemplate, live.workflow(t, mv).Spec.WorkflowTemplateRef.Name)
			assert.Equal(t, compression == v1alpha1.Zstd, mv.Status.SentBytes < mv.Status.SizeBytes/2, "%d bytes were sent", mv.Status.SentBytes)
			assert.Zero(t, mv.Status.ReusedBytes)
			said := live.logOf(t, ns, corev1.PodSpec{Containers: []corev1.Container{{
				Name: "loads", Image: mv.Status.Image,
				Command: []string{"/bin/sh", "-c", "mkdir /loaded && cp -r /kubedl-model/* /loaded && ls /loaded && wc -c < /loaded/latest.bin"},
			}}})
			assert.Contains(t, said, "empty\nlatest.bin\n")
			assert.Contains(t, said, fmt.Sprint(70<<20))
		})
	}
}

func TestAModelIsStreamedOnNothing(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)

	mv := live.built(t, makeVersion("bare", ns, dir).Engine(v1alpha1.Stream).BaseImage("scratch").New())

	holds(t, mv, dir)
	assert.NotContains(t, run(t, "crane", "export", "--insecure", mv.Status.Image, "-"), "bin/sh")
}

// What a version says of its files' times, the next one trusts if it is told to.
func TestAVersionWhoseTimesAreTrustedIsNotReadAgain(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newFolder(t)
	dir.random(t, "weights.bin", 70<<20)
	version := func(name string) *v1alpha1.ModelVersion {
		return makeVersion(name, ns, dir).Engine(v1alpha1.Stream).ChangeDetection(v1alpha1.ChangesInModTime).New()
	}
	first := live.built(t, version("v1"))
	live.latest(t, first)
	before, err := os.Stat(dir.at("weights.bin"))
	require.NoError(t, err)
	file, err := os.OpenFile(dir.at("weights.bin"), os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString("other weights")
	require.NoError(t, errors.Join(err, file.Close()))
	require.NoError(t, os.Chtimes(dir.at("weights.bin"), before.ModTime(), before.ModTime()))

	second := live.built(t, version("v2"))

	assert.Zero(t, second.Status.SentBytes, "nobody looked into the file")
	live.latest(t, second)
	require.NoError(t, os.Chtimes(dir.at("weights.bin"), time.Time{}, time.Now()))
	third := live.built(t, version("v3"))
	assert.Greater(t, third.Status.SentBytes, int64(70<<20))
	holds(t, third, dir)
}

func TestAStreamedVersionSendsOnlyWhatTheLatestDoesNotHave(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	const large = 70 << 20
	first := newFolder(t)
	first.random(t, "embeddings.bin", large)
	first.random(t, "weights.bin", large)
	first.write(t, "config.json", "{}")
	built := live.built(t, makeVersion("v1", ns, first).Engine(v1alpha1.Stream).New())
	live.latest(t, built)

	// A copy of the files, as the next training leaves it, with one other file.
	second := newFolder(t)
	require.NoError(t, os.CopyFS(string(second), os.DirFS(string(first))))
	require.NoError(t, os.Remove(second.at("weights.bin")))
	second.random(t, "weights.bin", large)
	began := time.Now()
	next := live.built(t, makeVersion("v2", ns, second).Engine(v1alpha1.Stream).New())

	t.Logf("figure: one of two files changed: %.1f s from apply to Ready", time.Since(began).Seconds())
	holds(t, next, second)
	assert.InDelta(t, large, next.Status.SentBytes, 100_000)
	assert.InDelta(t, large, next.Status.ReusedBytes, 100_000)
}

// restrictedNamespace is a namespace that takes pods of the Pod Security level
// restricted and no others.
func (c *cluster) restrictedNamespace(t *testing.T) string {
	t.Helper()
	ns := c.namespace(t)
	run(t, "kubectl", "label", "namespace", ns, "pod-security.kubernetes.io/enforce=restricted")
	return ns
}

func TestStreamBuildsInARestrictedNamespace(t *testing.T) {
	t.Parallel()
	ns := live.restrictedNamespace(t)
	disk := newFolder(t)
	disk.write(t, "runs/7/config.json", "{}")
	disk.random(t, "runs/7/weights.bin", 1<<20)
	live.claimOf(t, ns, "training-output", disk)
	version := makeVersion("restricted", ns, "").Claim("training-output", "runs/7").Engine(v1alpha1.Stream).New()
	version.Spec.Storage.LocalStorage = nil

	holds(t, live.built(t, version), folder(disk.at("runs/7")))
}

func TestAFileThatStreamMayNotReadIsNamedWithBothWaysOut(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	dir.write(t, "private.bin", "weights")
	require.NoError(t, os.Chmod(dir.at("private.bin"), 0o600))

	mv, took := live.failed(t, makeVersion("private", ns, dir).Engine(v1alpha1.Stream).New())

	assertRefusal(t, mv, v1alpha1.ReasonSourceUnreadable, `the build cannot read "private.bin": permission denied; the engine Stream does not run as root: make the files readable for everyone, or use the engine Kaniko`)
	logSeen(t, mv, took)
	run(t, "kubectl", "patch", "mv", mv.Name, "-n", ns, "--type=merge", "-p", `{"spec":{"build":{"engine":"Kaniko"}}}`)
	holds(t, live.readyAgain(t, mv), dir)
}

// What happens between a build and its registry, and passes or can be lived with.
func TestAStreamEndsWellWhateverHappensOnTheWay(t *testing.T) {
	t.Parallel()
	const size = 120 << 20
	tests := map[string]func(seen *atomic.Int64) fault{
		"a proxy that cuts every 50 MB": func(seen *atomic.Int64) fault {
			return func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPatch && r.ContentLength > 50<<20 {
					seen.Add(1)
					r.Body = cutAfter(r.Body, 50<<20)
				}
				return false
			}
		},
		"a proxy that takes at most 20 MB": func(seen *atomic.Int64) fault {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.ContentLength <= 20<<20 {
					return false
				}
				seen.Add(1)
				return answers(http.StatusRequestEntityTooLarge)(w, r)
			}
		},
		"a registry that wants to be asked later": func(seen *atomic.Int64) fault {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPatch || seen.Add(1)%2 == 0 {
					return false
				}
				w.Header().Set("Retry-After", "1")
				return answers(http.StatusTooManyRequests)(w, r)
			}
		},
		"a registry that is away for a while": func(seen *atomic.Int64) fault {
			var once sync.Once
			var back atomic.Bool
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPatch && seen.Load() == 0 {
					return false
				}
				seen.Add(1)
				once.Do(func() { time.AfterFunc(10*time.Second, func() { back.Store(true) }) })
				return !back.Load() && answers(http.StatusServiceUnavailable)(w, r)
			}
		},
	}
	for name, broken := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := newFolder(t)
			dir.random(t, "weights.bin", size)
			var seen atomic.Int64
			registry := live.faultyRegistry(t, broken(&seen))

			mv := live.built(t, registry.makeVersionBy(t, contract.StreamTemplate, "pushed", ns, dir).Engine(v1alpha1.Stream).New())

			assert.Positive(t, seen.Load(), "the fault happened")
			assert.Equal(t, int64(1), mv.Status.Attempts)
			holds(t, mv, dir)
		})
	}
}

// cutAfter is a body that ends with an error after so many bytes.
func cutAfter(body io.ReadCloser, bytes int64) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(body, bytes), cutReader{}), body}
}

type cutReader struct{}

func (cutReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestAStreamThatARegistryRefusesIsNotTagged(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		broken fault
		reason string
		says   string
	}{
		"a registry whose disk fills": {takesInAll(40 << 20), v1alpha1.ReasonRegistryFull, "507"},
		"a password that is changed":  {forbidsAfter(http.MethodPatch), v1alpha1.ReasonRegistryUnauthorized, "403"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := newFolder(t)
			dir.random(t, "weights.bin", 80<<20)
			registry := live.faultyRegistry(t, tt.broken)

			mv, took := live.failed(t, registry.makeVersionBy(t, contract.StreamTemplate, "pushed", ns, dir).Engine(v1alpha1.Stream).New())

			assertRefusal(t, mv, tt.reason, tt.says)
			logSeen(t, mv, took)
			assertNotInRegistry(t, strings.Replace(mv.Status.Image, registry.host, live.registry, 1))
			registry.mend()
			typeCommand(t, mv.Status.Message)
			holds(t, live.readyAgain(t, mv), dir)
		})
	}
}

// takesInAll is a registry whose disk has room for so many bytes.
func takesInAll(bytes int64) fault {
	var taken atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || taken.Add(r.ContentLength) <= bytes {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		return answers(http.StatusInsufficientStorage)(w, r)
	}
}

// forbidsAfter forbids requests of a method.
func forbidsAfter(method string) fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return r.Method == method && answers(http.StatusForbidden)(w, r)
	}
}

func TestAStreamWhosePodIsKilledHalfwayIsSentAgain(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newFolder(t)
	dir.random(t, "weights.bin", 100<<20)
	halfway := make(chan struct{})
	reached := sync.OnceFunc(func() { close(halfway) })
	var gone atomic.Bool
	registry := live.faultyRegistry(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch && !gone.Load() {
			// Half of it passes, and the rest when the pod is gone.
			r.Body = haltAfter(r.Body, 50<<20, reached, &gone)
		}
		return false
	})
	mv := registry.makeVersionBy(t, contract.StreamTemplate, "killed", ns, dir).Engine(v1alpha1.Stream).New()
	live.create(t, mv)
	select {
	case <-halfway:
	case <-time.After(buildTime):
		require.Fail(t, "nothing was sent")
	}

	run(t, "kubectl", "delete", "pod", "-n", ns, "--all", "--grace-period=0", "--force")
	gone.Store(true)

	mv = live.ready(t, mv)
	assert.Equal(t, int64(1), mv.Status.Attempts)
	holds(t, mv, dir)
}

// haltAfter is a body that does not go on after so many bytes until it may.
func haltAfter(body io.ReadCloser, bytes int64, reached func(), may *atomic.Bool) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(body, bytes), &halted{reached: reached, may: may, next: body}), body}
}

type halted struct {
	reached func()
	may     *atomic.Bool
	next    io.Reader
}

func (h *halted) Read(p []byte) (int, error) {
	h.reached()
	if !h.may.Load() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if h.may.Load() {
				break
			}
		}
	}
	return h.next.Read(p)
}
