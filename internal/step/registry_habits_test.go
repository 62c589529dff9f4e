package step

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// habit is a registry that differs from the specification, in front of one that does
// not.
type habit func(inner http.Handler) http.Handler

// withoutHeadLength responds to HEAD without a length, as gcr.io does.
func withoutHeadLength(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead || !strings.Contains(r.URL.Path, "/blobs/") {
			inner.ServeHTTP(w, r)
			return
		}
		recorded := httptest.NewRecorder()
		inner.ServeHTTP(recorded, r)
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(buffer, "HTTP/1.1 %d X\r\nConnection: close\r\n\r\n", recorded.Code)
		_ = buffer.Flush()
		_ = conn.Close()
	})
}

// refusingHead refuses HEAD requests for blobs, as a storage does whose signature is
// for GET.
func refusingHead(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// creatingPatch responds to PATCH with 201, as Amazon ECR does.
func creatingPatch(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			w = &statusWriter{ResponseWriter: w, from: http.StatusAccepted, to: http.StatusCreated}
		}
		inner.ServeHTTP(w, r)
	})
}

// statusWriter replaces a status code.
type statusWriter struct {
	http.ResponseWriter
	from, to int
}

func (w *statusWriter) WriteHeader(code int) {
	if code == w.from {
		code = w.to
	}
	w.ResponseWriter.WriteHeader(code)
}

// hidingTags responds to requests for manifests that do not exist with a status code,
// as Artifactory, Quay and Docker Hub do.
func hidingTags(code int) habit {
	return func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") && r.Method != http.MethodPut {
				w = &statusWriter{ResponseWriter: w, from: http.StatusNotFound, to: code}
			}
			inner.ServeHTTP(w, r)
		})
	}
}

// writeOnly denies everything but pushes.
func writeOnly(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// policy holds manifests back, as Harbor does until an image is signed or scanned.
type policy struct {
	mu        sync.Mutex
	satisfied bool
}

func (p *policy) holdBack(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		held := strings.Contains(r.URL.Path, "/manifests/") && r.Method != http.MethodPut && !p.satisfied
		p.mu.Unlock()
		if held {
			found := httptest.NewRecorder()
			inner.ServeHTTP(found, r)
			held = found.Code == http.StatusOK
		}
		if held {
			w.WriteHeader(http.StatusPreconditionFailed)
			_, _ = w.Write([]byte(`{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"The image is not signed by cosign."}]}`))
			return
		}
		inner.ServeHTTP(w, r)
	})
}

func (p *policy) satisfy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.satisfied = true
}

// engines are the pods of both engines.
var engines = map[string]func(t *testing.T) *pod{"Kaniko": newPod, "Stream": newStreamingPod}

func TestStepsWithHabitsOfRegistries(t *testing.T) {
	for name, habit := range map[string]habit{
		"HEAD without a length":    withoutHeadLength,
		"HEAD refused":             refusingHead,
		"PATCH creates":            creatingPatch,
		"401 for a tag to be made": hidingTags(http.StatusUnauthorized),
		"403 for a tag to be made": hidingTags(http.StatusForbidden),
	} {
		for engine, newPod := range engines {
			t.Run(name+", "+engine, func(t *testing.T) {
				p := newPod(t)
				p.write(t, "source/w.bin", "weights")
				p.registry.set(habit(p.registry.get()))

				code, printed := p.allSteps(t)
				require.Equal(t, exitOK, code, printed)
				p.recreate(t)
				code, printed = p.allSteps(t)
				require.Equal(t, exitOK, code, printed)
				assert.Contains(t, printed, "verified, already in the registry")
			})
		}
	}
}

func TestMountCheckRefusesTagsThatItCannotSee(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/w.bin", "weights")
	p.registry.set(writeOnly(p.registry.get()))

	code, printed := p.mountCheck(t)

	p.assertFailed(t, "mount-check", v1alpha1.ReasonRegistryUnauthorized, "the account may push to "+p.host+"/models/resnet but not read it, and a build never overwrites a tag that it cannot see: allow it to read the repository, too", code, printed)
}

func TestStepsWithPolicyOfRegistry(t *testing.T) {
	for engine, newPod := range engines {
		t.Run(engine, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/w.bin", "weights")
			policy := &policy{}
			inner := p.registry.get()
			p.registry.set(policy.holdBack(inner))

			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			held := p.report(t).Image
			require.NotNil(t, held)
			assert.Contains(t, held.HeldBack, "a policy of the registry "+p.host+" denies access to the image in models/resnet (412 Precondition Failed): sign or scan the image as the policy requires, or have the policy changed. The registry reports: The image is not signed by cosign")
			p.registry.set(inner)
			assert.Equal(t, p.digest(t), held.Digest, "the image was pushed")
			p.registry.set(policy.holdBack(inner))

			p.recreate(t)
			p.known = held.Digest
			code, printed = p.allSteps(t)
			p.assertFailed(t, "mount-check", v1alpha1.ReasonHeldByPolicy, "The registry reports: The image is not signed by cosign", code, printed)
			assert.NotContains(t, printed, "delete")

			policy.satisfy()
			p.recreate(t)
			code, printed = p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			assert.Equal(t, held.Digest, p.report(t).Image.Digest)
			assert.Empty(t, p.report(t).Image.HeldBack)
		})
	}
}
