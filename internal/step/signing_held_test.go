package step

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/sign"
)

// signaturePolicy is a fake of Harbor's policy for signatures: it holds back an image at a
// tag until a manifest that refers to it is pushed, or forever.
type signaturePolicy struct {
	inner   http.Handler
	forever bool
	refused string
	mu      sync.Mutex
	signed  bool
}

func (h *signaturePolicy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := !h.signed || h.forever
	switch {
	case r.Method != http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/v1") && held:
		w.WriteHeader(http.StatusPreconditionFailed)
		_, _ = w.Write([]byte(`{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"The image is not signed by cosign."}]}`))
	case r.Method == http.MethodPut && h.refused != "" && strings.Contains(r.URL.Path, h.refused):
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"errors":[{"code":"DENIED","message":"no artifacts"}]}`))
	default:
		h.inner.ServeHTTP(w, r)
		h.signed = h.signed || r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:")
	}
}

// newPushedPod returns a pod whose image is pushed and not verified.
func newPushedPod(t *testing.T) *pod {
	t.Helper()
	p := newStreamingPod(t)
	p.write(t, "source/w.bin", "weights")
	for _, step := range []func(t *testing.T) (int, string){func(t *testing.T) (int, string) { t.Helper(); return p.mountCheck(t) }, p.build} {
		code, printed := step(t)
		require.Equal(t, exitOK, code, printed)
	}
	return p
}

func TestStatusReportSignsHeldBackImage(t *testing.T) {
	for name, tt := range map[string]struct {
		forever      bool
		refused      string
		attestations []string
		printed      string
	}{
		"until it is signed":     {attestations: []string{"Files", "Provenance"}, printed: "pushed and verified: "},
		"until it is scanned":    {forever: true, printed: "and not verified: a policy of the registry "},
		"and refuses signatures": {forever: true, refused: "/manifests/sha256:", printed: "pushed, and neither verified nor signed ("},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPushedPod(t)
			key := p.addKey(t)
			digest, inner := p.digest(t), p.registry.get()
			p.registry.set(&signaturePolicy{inner: inner, forever: tt.forever, refused: tt.refused})

			code, printed := p.statusReport(t)

			require.Equal(t, exitOK, code, printed)
			assert.Contains(t, printed, tt.printed)
			p.registry.set(inner)
			image := p.report(t).Image
			assert.Equal(t, digest, image.Digest)
			assert.Equal(t, tt.forever, image.HeldBack != "")
			if tt.refused != "" {
				assert.Nil(t, image.Signature)
				assert.Empty(t, p.referrers(t))
				assert.Contains(t, image.HeldBack, "The image is not signed: request a rebuild of the ModelVersion with the annotation model.kubedl.io/rebuild when the policy allows the build to pull it")
				return
			}
			require.NotNil(t, image.Signature)
			require.NoError(t, sign.VerifyImage([]byte(image.Signature.Bundle), digest, []sign.PublicKey{key}))
			assert.Equal(t, []string{"Bundle", "Tag"}, image.Signature.Formats)
			assert.Equal(t, tt.attestations, image.Signature.Attestations)
			assert.NotContains(t, image.HeldBack, "not signed: request")
			assert.Len(t, p.referrers(t), 1+len(tt.attestations))
			assert.Equal(t, image.Signature.Bundle, string(p.bundle(t, p.referrers(t)[sign.SignPredicate][0])))
			p.assertSignatureTag(t, 1)

			// What the registry returns later is verified, and the same signature found.
			code, printed = p.statusReport(t)
			require.Equal(t, exitOK, code, printed)
			assert.Equal(t, image.Signature.Bundle, p.report(t).Image.Signature.Bundle)
			assert.Len(t, p.referrers(t)[sign.SignPredicate], 1)
			p.assertSignatureTag(t, 1)
		})
	}
}

// The webhook rejects a pod that demands the verification of files which the signature does
// not identify. With the digest of a list without their SHA-256, the pod would fail instead.
func TestStatusReportSignsHeldBackImageWithoutDigests(t *testing.T) {
	for name, skips := range map[string]bool{"with digests": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.skipsDigests = skips
			p.write(t, "source/w.bin", "weights")
			_, _ = p.mountCheck(t)
			code, printed := p.build(t)
			require.Equal(t, exitOK, code, printed)
			p.addKey(t)
			inner := p.registry.get()
			p.registry.set(&signaturePolicy{inner: inner, forever: true})
			code, printed = p.statusReport(t)
			require.Equal(t, exitOK, code, printed)
			p.registry.set(inner)
			assert.Equal(t, skips, p.signedList(t) == "")
		})
	}
}

func TestStatusReportOfHeldBackImageThatMustBeSigned(t *testing.T) {
	p := newPushedPod(t)
	p.addKey(t)
	p.signing = []string{"--signing-required=true"}
	p.registry.set(&signaturePolicy{inner: p.registry.get(), forever: true, refused: "/manifests/sha256:"})
	code, printed := p.statusReport(t)
	p.assertFailed(t, "status-report", v1alpha1.ReasonSigningFailed, "the image is in the registry, and its signature cannot be stored: ", code, printed)
}

func TestStatusReportOfHeldBackImageWithoutKey(t *testing.T) {
	p := newPushedPod(t)
	p.registry.set(&signaturePolicy{inner: p.registry.get(), forever: true})
	code, printed := p.statusReport(t)
	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "pushed, and not verified: a policy of the registry ")
	assert.Nil(t, p.report(t).Image.Signature)
}
