package registries

import (
	"cmp"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

const localhost = "127.0.0.1"

// TestStreamFaults shows what a build survives without another pod.
func TestStreamFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]func(seen *atomic.Int64) proxy.Behavior{
		"a proxy cuts requests after 12 MiB": func(seen *atomic.Int64) proxy.Behavior {
			return proxy.Cut(12<<20, func(r *http.Request) bool { return r.Method == http.MethodPatch && seen.Add(1) > 0 })
		},
		"a proxy limits requests to 5 MiB": func(seen *atomic.Int64) proxy.Behavior {
			return counted(seen, proxy.LimitBody(5<<20, http.StatusRequestEntityTooLarge))
		},
		"the registry limits the rate of requests": func(seen *atomic.Int64) proxy.Behavior {
			return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPatch || seen.Add(1)%2 == 0 {
					return false
				}
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			})
		},
		"the registry is unavailable for two seconds": func(seen *atomic.Int64) proxy.Behavior {
			var once sync.Once
			var back atomic.Bool
			return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
				if back.Load() || r.Method != http.MethodPatch && seen.Load() == 0 {
					return false
				}
				seen.Add(1)
				once.Do(func() { time.AfterFunc(2*time.Second, func() { back.Store(true) }) })
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			})
		},
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forEachRegistry(t, func(t *testing.T, registry string) {
				var seen atomic.Int64
				p := newPod(t, proxy.Start(t, localhost, registry, fault(&seen)).Host)
				content.WriteRandom(t, p.source("weights.bin"), 30<<20)

				p.builds(t)

				assert.Positive(t, seen.Load(), "the fault happened")
			})
		})
	}
}

// counted counts the responses with an error of a behavior.
func counted(seen *atomic.Int64, behavior proxy.Behavior) proxy.Behavior {
	return proxy.All(proxy.Edit(func(_ *http.Request, code int, _ http.Header) int {
		if code >= http.StatusBadRequest {
			seen.Add(1)
		}
		return code
	}), behavior)
}

// TestStreamRejected shows which failures end a build that has begun to push.
func TestStreamRejected(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault              proxy.Behavior
		step, reason, says string
	}{
		"the registry's disk is full":       {proxy.LimitTotal(16 << 20), contract.StepBuild, v1alpha1.ReasonRegistryFull, "507"},
		"the password was changed":          {proxy.RespondTo(http.MethodPatch, http.StatusForbidden), contract.StepBuild, v1alpha1.ReasonRegistryUnauthorized, "403"},
		"the registry loses what it stored": {proxy.LoseTag(), contract.StepStatusReport, v1alpha1.ReasonVerificationFailed, "v1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := startOpen(t)
			behind := proxy.Start(t, localhost, open, tt.fault)
			p := newPod(t, behind.Host)
			content.WriteRandom(t, p.source("weights.bin"), 20<<20)

			failure := p.fails(t, tt.step, tt.reason)

			assert.Contains(t, failure.Message, tt.says)
			assert.False(t, failure.Transient)
			if tt.step == contract.StepBuild {
				content.AssertNotTagged(t, open+"/"+p.repository+":"+p.tag)
			}
			behind.Repair()
			p.builds(t)
		})
	}
}

// TestMountCheck shows which faults of a registry are found before anything is
// copied, and which of them another pod may not meet.
func TestMountCheck(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	tests := map[string]struct {
		// engine is Stream if it is empty.
		engine    v1alpha1.BuildEngine
		fault     proxy.Behavior
		reason    string
		says      string
		transient bool
	}{
		"the quota is used up": {
			fault:  proxy.ReadOnly(http.StatusInsufficientStorage),
			reason: v1alpha1.ReasonRegistryFull, says: "507",
		},
		"the password is for pulling only": {
			fault:  proxy.ReadOnly(http.StatusForbidden),
			reason: v1alpha1.ReasonRegistryUnauthorized, says: "403",
		},
		"the registry is down": {
			fault:  proxy.Respond(http.StatusServiceUnavailable),
			reason: v1alpha1.ReasonRegistryUnreachable, says: "503", transient: true,
		},
		"the registry limits the rate of requests": {
			fault:  proxy.Respond(http.StatusTooManyRequests),
			reason: v1alpha1.ReasonRateLimited, says: "429", transient: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			behind := proxy.Start(t, localhost, startOpen(t), tt.fault)
			p := newPod(t, behind.Host)
			content.WriteRandom(t, p.source("weights.bin"), 3*limit)
			p.engine = cmp.Or(tt.engine, p.engine)

			failure := p.fails(t, contract.StepMountCheck, tt.reason)

			assert.Contains(t, failure.Message, behind.Host)
			assert.Contains(t, failure.Message, tt.says)
			assert.Equal(t, tt.transient, failure.Transient)
			behind.Repair()
			p.engine = v1alpha1.Stream
			p.builds(t)
		})
	}
}

func TestMountCheckUnreachable(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		registry  string
		transient bool
	}{
		"nothing listens":            {registry: freeAddress(t), transient: true},
		"the host name is not known": {registry: "registry.invalid:5000"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, tt.registry)
			p.write(t, "config.json", "{}")

			failure := p.fails(t, contract.StepMountCheck, v1alpha1.ReasonRegistryUnreachable)

			assert.Contains(t, failure.Message, tt.registry)
			assert.Equal(t, tt.transient, failure.Transient)
		})
	}
}

func TestBaseImage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config *v1.Config
		reason string
		says   string
	}{
		"is not in the registry":   {reason: v1alpha1.ReasonBuildFailed, says: "does not exist"},
		"has ONBUILD instructions": {config: &v1.Config{OnBuild: []string{"RUN true"}}, reason: v1alpha1.ReasonInvalidSpec, says: "ONBUILD"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forEachRegistry(t, func(t *testing.T, registry string) {
				p := newPod(t, registry)
				p.write(t, "config.json", "{}")
				p.baseImage = registry + "/library/base:1"
				if tt.config != nil {
					pushImage(t, p.baseImage, *tt.config)
				}

				failure := p.fails(t, contract.StepMountCheck, tt.reason)

				assert.Contains(t, failure.Message, p.baseImage)
				assert.Contains(t, failure.Message, tt.says)
				content.AssertNotTagged(t, p.image())
			})
		})
	}
}

// TestRegistryRestart kills a registry while it receives a layer, and starts it
// again. A registry signs the state of its upload sessions with a secret, which is
// another one after a restart if it is not configured.
func TestRegistryRestart(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ configuration []string }{
		"with a secret":    {configuration: []string{"http: {secret: kept}"}},
		"without a secret": {},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := startDistribution(t, tt.configuration...)
			halt := newHalt(t)
			// The requests that send the weights after the one that is halted.
			after := make(chan *http.Request, 100)
			behind := proxy.Start(t, localhost, registry.host, proxy.Instead(func(_ http.ResponseWriter, r *http.Request) bool {
				if !halt.upload(r) && r.Method == http.MethodPatch && r.ContentLength > halfway {
					after <- r
				}
				return false
			}))
			p := newPod(t, behind.Host)
			content.WriteRandom(t, p.source("weights.bin"), 2*halfway+1)
			build := p.startBuild(t)

			halt.wait(t)
			require.Eventually(t, func() bool { return registry.uploadedBytes(t) > 1<<20 }, time.Minute, 10*time.Millisecond, "the registry receives a layer")
			registry.kill(t)
			registry.start(t)
			close(halt.over)

			require.NoError(t, build.Wait())
			code, log := p.run(t, contract.StepStatusReport)
			require.Zero(t, code, log)
			assert.Equal(t, content.OfDirectory(t, p.model), content.OfImage(t, p.image()).Model)
			if tt.configuration != nil {
				begin, _, _ := strings.Cut((<-after).Header.Get("Content-Range"), "-")
				assert.NotEqual(t, "0", begin, "the upload continues where the registry was killed")
			}
		})
	}
}

// TestStreamKilled kills a build in the middle of an upload, as a node that fails
// does. The next pod builds the image.
func TestStreamKilled(t *testing.T) {
	t.Parallel()
	forEachRegistry(t, func(t *testing.T, registry string) {
		halt := newHalt(t)
		behind := proxy.Start(t, localhost, registry, proxy.Instead(func(_ http.ResponseWriter, r *http.Request) bool {
			halt.upload(r)
			return false
		}))
		p := newPod(t, behind.Host)
		content.WriteRandom(t, p.source("weights.bin"), 2*halfway)
		build := p.startBuild(t)

		halt.wait(t)
		require.NoError(t, build.Process.Kill())
		require.Error(t, build.Wait())
		close(halt.over)

		content.AssertNotTagged(t, registry+"/"+p.repository+":"+p.tag)
		p.builds(t)
	})
}

// startBuild runs the first step and starts the second.
func (p *pod) startBuild(t *testing.T) *exec.Cmd {
	t.Helper()
	code, log := p.run(t, contract.StepMountCheck)
	require.Zero(t, code, log)
	build := p.command(t, contract.StepBuild)
	require.NoError(t, build.Start())
	return build
}

// halfway is after how many bytes a halted upload stops.
const halfway = 8 << 20

// halt stops the first large upload halfway.
type halt struct {
	halted atomic.Bool
	// reached is closed when the upload stops, which fails when over is closed or
	// the test ends.
	reached, over chan struct{}
	ended         <-chan struct{}
}

func newHalt(t *testing.T) *halt {
	t.Helper()
	return &halt{reached: make(chan struct{}), over: make(chan struct{}), ended: t.Context().Done()}
}

// upload halts a request, if it is the one to halt, and reports whether it does.
func (h *halt) upload(r *http.Request) bool {
	if r.Method != http.MethodPatch || r.ContentLength <= halfway || !h.halted.CompareAndSwap(false, true) {
		return false
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r.Body, halfway), h), r.Body}
	return true
}

// Read is where the upload stops.
func (h *halt) Read([]byte) (int, error) {
	close(h.reached)
	select {
	case <-h.over:
	case <-h.ended:
	}
	return 0, io.ErrUnexpectedEOF
}

// wait waits until the upload has stopped.
func (h *halt) wait(t *testing.T) {
	t.Helper()
	select {
	case <-h.reached:
	case <-time.After(time.Minute):
		require.Fail(t, "nothing was uploaded")
	}
}
