//go:build e2e

package e2e

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func TestARegistryThatFailsIsSaidInWordsAndPushedToWhenItIsMended(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		broken fault
		reason string
		// says are parts of the message.
		says []string
	}{
		"a proxy that takes no large layer": {
			broken: takesAtMost(limit, http.StatusRequestEntityTooLarge),
			reason: v1alpha1.ReasonRegistryFull, says: []string{"413", "limit"},
		},
		"a proxy that goes by what is announced": {
			broken: announcesAtMost(limit, http.StatusRequestEntityTooLarge),
			reason: v1alpha1.ReasonRegistryFull, says: []string{"Step mount-check", "weights.bin", "limit"},
		},
		"a registry whose disk is full": {
			broken: takesAtMost(limit, http.StatusInsufficientStorage),
			reason: v1alpha1.ReasonRegistryFull, says: []string{"507", "quota"},
		},
		"a registry whose quota was used up before": {
			broken: refusesUploads(http.StatusInsufficientStorage),
			reason: v1alpha1.ReasonRegistryFull, says: []string{"507", "quota"},
		},
		"a registry that is down behind its proxy": {
			broken: answers(http.StatusServiceUnavailable),
			reason: v1alpha1.ReasonRegistryUnreachable, says: []string{"503"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := newFolder(t)
			dir.random(t, "weights.bin", 3*limit)
			registry := live.faultyRegistry(t, tt.broken)

			mv, took := live.failed(t, registry.makeVersion(t, "pushed", ns, dir).New())

			assertRefusal(t, mv, tt.reason, registry.host)
			for _, says := range tt.says {
				assert.Contains(t, mv.Status.Message, says)
			}
			assert.Contains(t, mv.Status.Message, v1alpha1.AnnotationRebuild)
			logSeen(t, mv, took)
			registry.mend()
			typeCommand(t, mv.Status.Message)
			holds(t, live.readyAgain(t, mv), dir)
		})
	}
}

// limit is the largest body that a proxy takes: more than any layer of the
// base image.
const limit = 8 << 20

// takesAtMost refuses a body that is longer. It reads all of it, as proxies do
// for a while, so that the client does not find the connection cut instead.
func takesAtMost(size int64, code int) fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		begin, err := io.ReadAll(io.LimitReader(r.Body, size+1))
		if err == nil && int64(len(begin)) > size {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(code)
			return true
		}
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(begin), r.Body))
		return false
	}
}

// announcesAtMost refuses a body that is said to be longer, before it comes.
func announcesAtMost(size int64, code int) fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.ContentLength <= size {
			return false
		}
		return answers(code)(w, r)
	}
}

// refusesUploads lets everybody read and nobody push.
func refusesUploads(code int) fault {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		return answers(code)(w, r)
	}
}

func TestARegistryThatForgetsWhatWasPushedIsNoticed(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	var pushed atomic.Bool
	registry := live.faultyRegistry(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case !strings.Contains(r.URL.Path, "/manifests/v"):
			return false
		case r.Method == http.MethodPut:
			pushed.Store(true)
			return false
		default:
			return pushed.Load() && answers(http.StatusNotFound)(w, r)
		}
	})

	mv, took := live.failed(t, registry.makeVersion(t, "forgotten", ns, dir).New())

	assertRefusal(t, mv, v1alpha1.ReasonVerificationFailed, "the registry has nothing at "+mv.Status.Image)
	logSeen(t, mv, took)
	registry.mend()
	typeCommand(t, mv.Status.Message)
	holds(t, live.readyAgain(t, mv), dir)
}

func TestARegistryOfAPrivateAuthorityIsPushedToOnceThatIsNamed(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	served, authority := certificate(t, live.machine(t))
	registry := live.faultyRegistry(t, func(http.ResponseWriter, *http.Request) bool { return false }, served)

	mv, took := live.failed(t, makeVersion("private", ns, dir).ImageRepo(registry.host+"/e2e/"+ns).New())

	assertRefusal(t, mv, v1alpha1.ReasonRegistryUntrusted, registry.host+" presented a certificate from an unknown authority")
	assert.Contains(t, mv.Status.Message, "operator's configuration")
	logSeen(t, mv, took)

	// From there the operator takes it to the namespace; here it stays as it is
	// for all other tests.
	bundle := &corev1.ConfigMap{}
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: contract.RegistryCAConfigMap}, bundle))
	bundle.Data = map[string]string{"ca.crt": authority}
	require.NoError(t, live.Update(t.Context(), bundle))
	typeCommand(t, mv.Status.Message)
	registry.holdsBehind(t, live.readyAgain(t, mv), dir)
}
