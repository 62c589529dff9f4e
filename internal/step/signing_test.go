package step

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/sign"
)

// newKey returns a private key in PKCS #8.
func newKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return der
}

func inPEM(blockType string, content []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: content}))
}

// addKey adds a signing key to the pod, and returns the public key.
func (p *pod) addKey(t *testing.T) sign.PublicKey {
	t.Helper()
	text := inPEM("PRIVATE KEY", newKey(t))
	p.write(t, "signing-secret/tls.key", text)
	key, err := sign.ParseKey([]byte(text), nil)
	require.NoError(t, err)
	return key.Public()
}

// referrers returns what refers to the image, by the type of the statement.
func (p *pod) referrers(t *testing.T) map[string][]v1.Descriptor {
	t.Helper()
	digest, err := name.NewDigest(p.byDigest(t), name.Insecure)
	require.NoError(t, err)
	index, err := remote.Referrers(digest)
	require.NoError(t, err)
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	byPredicate := map[string][]v1.Descriptor{}
	for _, d := range manifest.Manifests {
		predicate := d.Annotations[annotationPredicate]
		byPredicate[predicate] = append(byPredicate[predicate], d)
	}
	return byPredicate
}

// bundle returns the only blob of an artifact.
func (p *pod) bundle(t *testing.T, artifact v1.Descriptor) []byte {
	t.Helper()
	ref, err := name.NewDigest(p.host+"/"+p.repo+"@"+artifact.Digest.String(), name.Insecure)
	require.NoError(t, err)
	image, err := remote.Image(ref)
	require.NoError(t, err)
	layers, err := image.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	content, err := layers[0].Compressed()
	require.NoError(t, err)
	raw, err := io.ReadAll(content)
	require.NoError(t, err)
	return raw
}

// payload returns the statement in a bundle.
func payload(t *testing.T, bundle []byte) map[string]any {
	t.Helper()
	var parsed struct {
		Envelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	require.NoError(t, json.Unmarshal(bundle, &parsed))
	var statement map[string]any
	require.NoError(t, json.Unmarshal(parsed.Envelope.Payload, &statement))
	return statement
}

// writeCounter counts what is written to a registry.
type writeCounter struct {
	mu    sync.Mutex
	inner http.Handler
	puts  []string
}

func (c *writeCounter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		c.mu.Lock()
		c.puts = append(c.puts, r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
		c.mu.Unlock()
	}
	c.inner.ServeHTTP(w, r)
}

func (c *writeCounter) writes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.puts
}

func TestStatusReportSigns(t *testing.T) {
	for name, tt := range map[string]struct {
		streams bool
		hasAPI  bool
	}{
		"Kaniko, index of referrers": {},
		"Stream, index of referrers": {streams: true},
		"Stream, referrers API":      {streams: true, hasAPI: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.registry.set(memory.New(memory.Logger(log.New(io.Discard, "", 0)), memory.WithReferrersSupport(tt.hasAPI)))
			p.streams = tt.streams
			p.base = p.host + "/base/image:1"
			p.push(t, randomImage(t), p.base)
			p.write(t, "source/config.json", "{}")
			p.write(t, "source/w.bin", "weights")
			key := p.addKey(t)

			code, printed := p.allSteps(t)

			require.Equal(t, exitOK, code, printed)
			digest, signature := p.digest(t), p.report(t).Image.Signature
			require.NotNil(t, signature)
			require.NoError(t, sign.VerifyImage([]byte(signature.Bundle), digest, []sign.PublicKey{key}))
			assert.Equal(t, "modelkiln-signing", signature.Secret)
			assert.Equal(t, key.ID(), signature.KeyID)
			assert.Equal(t, []string{"Bundle", "Tag"}, signature.Formats)
			assert.Equal(t, []string{"Files", "Provenance"}, signature.Attestations)
			assert.Contains(t, printed, "signed with the key of Secret modelkiln-signing, "+key.ID())

			referrers := p.referrers(t)
			require.Len(t, referrers, 3)
			assert.Equal(t, signature.Bundle, string(p.bundle(t, referrers[sign.SignPredicate][0])))
			require.NoError(t, sign.VerifyProvenance(p.bundle(t, referrers[sign.ProvenancePredicate][0]), digest, key))
			p.assertSignedFiles(t, p.bundle(t, referrers[sign.FilesPredicate][0]))
			p.assertProvenance(t, p.bundle(t, referrers[sign.ProvenancePredicate][0]))
			p.assertSignatureTag(t, 1)

			// A retry adds nothing.
			count := &writeCounter{inner: p.registry.get()}
			p.registry.set(count)
			code, printed = p.statusReport(t)
			require.Equal(t, exitOK, code, printed)
			assert.Empty(t, count.writes())
			assert.Equal(t, signature, p.report(t).Image.Signature)
		})
	}
}

func (p *pod) assertSignedFiles(t *testing.T, bundle []byte) {
	t.Helper()
	files, listed := sign.NewFiles(p.listedFiles(t))
	require.True(t, listed)
	statement := payload(t, bundle)
	assert.Equal(t, []any{map[string]any{"name": "resnet", "digest": map[string]any{"sha256": files.Root}}}, statement["subject"])
	assert.Len(t, statement["predicate"].(map[string]any)["resources"], 2)
}

func (p *pod) assertProvenance(t *testing.T, bundle []byte) {
	t.Helper()
	predicate := payload(t, bundle)["predicate"].(map[string]any)
	build, run := predicate["buildDefinition"].(map[string]any), predicate["runDetails"].(map[string]any)
	request := build["externalParameters"].(map[string]any)
	assert.Equal(t, p.image(), request["image"])
	assert.Equal(t, p.base, request["baseImage"])
	assert.Equal(t, "resnet-v1", request["modelVersion"])
	assert.Equal(t, map[string]any{"invocationId": "ml/workflows/resnet-v1-1/wf-1", "startedOn": "2026-11-29T01:02:03Z"}, run["metadata"])
	var names []any
	for _, dependency := range build["resolvedDependencies"].([]any) {
		names = append(names, dependency.(map[string]any)["name"])
	}
	assert.Equal(t, []any{"base-image", "files"}, names)
}

// assertSignatureTag asserts that the tag of signatures has a number of them, and that
// the last one is about the image.
func (p *pod) assertSignatureTag(t *testing.T, signatures int) {
	t.Helper()
	ref, err := name.ParseReference(p.host+"/"+p.repo+":"+strings.Replace(p.digest(t), ":", "-", 1)+".sig", name.Insecure)
	require.NoError(t, err)
	image, err := remote.Image(ref)
	require.NoError(t, err)
	manifest, err := image.Manifest()
	require.NoError(t, err)
	require.Len(t, manifest.Layers, signatures)
	last := manifest.Layers[signatures-1]
	assert.Equal(t, sign.SimplePayloadType, string(last.MediaType))
	_, err = base64.StdEncoding.DecodeString(last.Annotations[sign.SimpleAnnotation])
	require.NoError(t, err)
	layers, err := image.Layers()
	require.NoError(t, err)
	content, err := layers[signatures-1].Compressed()
	require.NoError(t, err)
	raw, err := io.ReadAll(content)
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"docker-manifest-digest":"`+p.digest(t)+`"`)
}

// An image that an earlier build has pushed is signed afterwards, once.
func TestStatusReportSignsFoundImage(t *testing.T) {
	p := newStreamedPod(t)
	assert.Nil(t, p.report(t).Image.Signature)
	first := p.addKey(t)
	for _, workflowUID := range []string{"wf-2", "wf-3"} {
		p.workflowUID = workflowUID
		code, printed := p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
		assert.True(t, p.report(t).Source.AlreadyPushed)
	}
	provenances := p.referrers(t)[sign.ProvenancePredicate]
	require.Len(t, provenances, 1, "an attested build is not attested again")
	assert.Contains(t, payload(t, p.bundle(t, provenances[0]))["predicate"].(map[string]any)["runDetails"].(map[string]any)["metadata"].(map[string]any)["invocationId"], "wf-2")
	p.assertSignatureTag(t, 1)

	// Another key signs it, too.
	second := p.addKey(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	assert.NotEqual(t, first.ID(), second.ID())
	assert.Equal(t, second.ID(), p.report(t).Image.Signature.KeyID)
	assert.Len(t, p.referrers(t)[sign.ProvenancePredicate], 2)
	assert.Len(t, p.referrers(t)[sign.SignPredicate], 2)
	p.assertSignatureTag(t, 2)
}

// Another user has deleted the provenance, and the index of referrers still lists it.
func TestStatusReportAttestsAgainWhatWasDeleted(t *testing.T) {
	p := newStreamedPod(t)
	p.addKey(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	deleted := p.referrers(t)[sign.ProvenancePredicate][0]
	ref, err := name.NewDigest(p.host+"/"+p.repo+"@"+deleted.Digest.String(), name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.Delete(ref))

	p.workflowUID = "wf-2"
	code, printed = p.allSteps(t)

	require.Equal(t, exitOK, code, printed)
	provenances := p.referrers(t)[sign.ProvenancePredicate]
	require.Len(t, provenances, 1)
	assert.NotEqual(t, deleted.Digest, provenances[0].Digest)
	assert.NotEmpty(t, p.bundle(t, provenances[0]))
}

func TestStatusReportSigningSettings(t *testing.T) {
	tests := map[string]struct {
		flags        []string
		skipsDigests bool
		formats      []string
		attestations []string
		predicates   []string
		hasTag       bool
	}{
		"bundles only": {
			flags: []string{"--signing-formats=Bundle", "--signing-attest=None"}, formats: []string{"Bundle"}, predicates: []string{sign.SignPredicate},
		},
		"a tag only": {
			flags: []string{"--signing-formats=Tag", "--signing-attest=None"}, formats: []string{"Tag"}, hasTag: true,
		},
		"files only": {
			flags: []string{"--signing-formats=Bundle", "--signing-attest=Files"}, formats: []string{"Bundle"}, attestations: []string{"Files"},
			predicates: []string{sign.SignPredicate, sign.FilesPredicate},
		},
		"files without SHA-256": {
			flags: []string{"--signing-formats=Bundle", "--signing-attest=Files,Provenance"}, skipsDigests: true, formats: []string{"Bundle"}, attestations: []string{"Provenance"},
			predicates: []string{sign.SignPredicate, sign.ProvenancePredicate},
		},
		"empty values": {
			flags: []string{"--signing-formats=", "--signing-attest=", "--builder-id="}, formats: []string{"Bundle", "Tag"}, attestations: []string{"Files", "Provenance"},
			predicates: []string{sign.SignPredicate, sign.FilesPredicate, sign.ProvenancePredicate}, hasTag: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.write(t, "source/w.bin", "weights")
			p.addKey(t)
			p.signing, p.skipsDigests = tt.flags, tt.skipsDigests

			code, printed := p.allSteps(t)

			require.Equal(t, exitOK, code, printed)
			signature := p.report(t).Image.Signature
			assert.Equal(t, tt.formats, signature.Formats)
			assert.Equal(t, tt.attestations, signature.Attestations)
			var predicates []string
			for predicate := range p.referrers(t) {
				predicates = append(predicates, predicate)
			}
			assert.ElementsMatch(t, tt.predicates, predicates)
			if tt.hasTag {
				p.assertSignatureTag(t, 1)
			}
		})
	}
}

func TestStatusReportOfWrongSigningSettings(t *testing.T) {
	for name, tt := range map[string]struct{ flag, want string }{
		"an unknown format":      {"--signing-formats=Bundle,PGP", "must be of Bundle, Tag"},
		"an unknown attestation": {"--signing-attest=BOM", "must be of None, Provenance, Files"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newStreamedPod(t)
			p.signing = []string{tt.flag}
			code, printed := p.statusReport(t)
			assert.Equal(t, exitUsage, code)
			assert.Contains(t, printed, tt.want)
		})
	}
}

func TestStatusReportWithoutUsableKey(t *testing.T) {
	sealed, err := encrypted.Encrypt(newKey(t), []byte("secret"))
	require.NoError(t, err)
	tests := map[string]struct {
		files    map[string]string
		required bool
		want     string
	}{
		"none, and one is required": {
			required: true,
			want:     "there is no Secret modelkiln-signing in this namespace with a signing key, cosign.key or tls.key, and images must be signed: create it with cosign generate-key-pair k8s://ml/modelkiln-signing",
		},
		"encrypted, and no password": {
			files: map[string]string{"cosign.key": inPEM("ENCRYPTED SIGSTORE PRIVATE KEY", sealed)},
			want:  "the key cosign.key in Secret modelkiln-signing is encrypted, and there is no cosign.password for it: replace it with cosign generate-key-pair k8s://ml/modelkiln-signing",
		},
		"another password": {
			files: map[string]string{"cosign.key": inPEM("ENCRYPTED SIGSTORE PRIVATE KEY", sealed), "cosign.password": "other"},
			want:  "cannot be decrypted with cosign.password",
		},
		"no key": {
			files: map[string]string{"tls.key": "secret text"},
			want:  "the key tls.key in Secret modelkiln-signing is not in PEM format",
		},
		"a large file": {
			files: map[string]string{"tls.key": strings.Repeat("x", maxKeyFile+1)},
			want:  "is not in PEM format",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newStreamedPod(t)
			for file, content := range tt.files {
				p.write(t, "signing-secret/"+file, content)
			}
			if tt.required {
				p.signing = []string{"--signing-required=true"}
			}
			code, printed := p.statusReport(t)
			p.assertFailed(t, "status-report", v1alpha1.ReasonSigningKeyMissing, tt.want, code, printed)
			assert.NotContains(t, printed, "secret text")
		})
	}
}

func TestStatusReportWithEncryptedKey(t *testing.T) {
	sealed, err := encrypted.Encrypt(newKey(t), []byte("pass word"))
	require.NoError(t, err)
	p := newStreamedPod(t)
	p.write(t, "signing-secret/cosign.key", inPEM("ENCRYPTED SIGSTORE PRIVATE KEY", sealed))
	p.write(t, "signing-secret/cosign.password", "pass word")
	code, printed := p.statusReport(t)
	require.Equal(t, exitOK, code, printed)
	assert.NotNil(t, p.report(t).Image.Signature)
	assert.NotContains(t, printed, "pass word")
}

func TestStatusReportOfRegistryWithoutSignatures(t *testing.T) {
	tests := map[string]struct {
		// refused is a part of the path of a request that the registry refuses, with a
		// status and a response.
		refused   string
		status    int
		response  string
		want      string
		transient bool
	}{
		"referrers are refused": {
			refused: "/referrers/", status: http.StatusForbidden, response: `{"errors":[{"code":"DENIED","message":"no referrers"}]}`,
			want: "the image is in the registry, and its signature cannot be stored: ",
		},
		"manifests of artifacts are refused": {
			refused: "/manifests/sha256:", status: http.StatusBadRequest, response: `{"errors":[{"code":"MANIFEST_INVALID","message":"unknown config type"}]}`,
			want: "its signature cannot be stored: ",
		},
		"the tag of signatures is immutable": {
			refused: ".sig", status: http.StatusConflict, response: `{"errors":[{"code":"DENIED","message":"tag is immutable"}]}`,
			want: "Signatures of one image share a tag that begins with sha256-, so exempt these tags from the rule instead",
		},
		"the disk is full for a while": {
			refused: "/manifests/sha256-", status: http.StatusServiceUnavailable,
			want: "its signature cannot be stored: ", transient: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newStreamedPod(t)
			p.addKey(t)
			before := p.digest(t)
			inner := p.registry.get()
			p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, tt.refused) && (r.Method == http.MethodPut || tt.refused == "/referrers/") {
					w.WriteHeader(tt.status)
					_, _ = w.Write([]byte(tt.response))
					return
				}
				inner.ServeHTTP(w, r)
			}))

			code, printed := p.statusReport(t)

			p.assertFailed(t, "status-report", v1alpha1.ReasonSigningFailed, tt.want, code, printed)
			assert.Equal(t, tt.transient, p.report(t).Failure.Transient)
			assert.Equal(t, before, p.digest(t), "the image stays what it is")
			p.registry.set(inner)
			code, printed = p.statusReport(t)
			require.Equal(t, exitOK, code, printed)
			assert.Len(t, p.referrers(t), 3)
		})
	}
}

// Another user has stored what is no signature where signatures are.
func TestStatusReportOfOtherContentAtTagsOfSignatures(t *testing.T) {
	for _, suffix := range []string{"", ".sig"} {
		t.Run("sha256-…"+suffix, func(t *testing.T) {
			p := newStreamedPod(t)
			p.addKey(t)
			tag := strings.Replace(p.digest(t), ":", "-", 1) + suffix
			ref, err := name.ParseReference(p.host+"/"+p.repo+":"+tag, name.Insecure)
			require.NoError(t, err)
			if suffix == "" {
				require.NoError(t, remote.Write(ref, randomImage(t)))
			} else {
				index, err := random.Index(10, 1, 2)
				require.NoError(t, err)
				require.NoError(t, remote.WriteIndex(ref, index))
			}
			code, printed := p.statusReport(t)
			p.assertFailed(t, "status-report", v1alpha1.ReasonSigningFailed, "delete the tag", code, printed)
		})
	}
}

// Of an image that was in the registry before, the account may only read the repository.
func TestStatusReportSignsStoredImage(t *testing.T) {
	p := newStreamedPod(t)
	key := p.addKey(t)
	signature := p.assertCertified(t).Image.Signature
	require.NotNil(t, signature)
	require.NoError(t, sign.VerifyImage([]byte(signature.Bundle), p.digest(t), []sign.PublicKey{key}))
	assert.Empty(t, signature.Formats)
	assert.Empty(t, signature.Attestations)
	assert.Empty(t, p.referrers(t))
	sum := sha256.Sum256(p.listOfFiles(t))
	assert.Equal(t, "sha256:"+hex.EncodeToString(sum[:]), p.signedList(t))
}

// Another program has pushed the image, and has listed no files in it.
func TestStatusReportSignsStoredImageWithoutList(t *testing.T) {
	p := newPod(t)
	p.push(t, layersOf(t, []tarEntry{file("kubedl-model/w.bin", "weights")}), p.image())
	key := p.addKey(t)
	signature := p.assertCertified(t).Image.Signature
	require.NotNil(t, signature)
	require.NoError(t, sign.VerifyImage([]byte(signature.Bundle), p.digest(t), []sign.PublicKey{key}))
	assert.Empty(t, p.signedList(t))
}

// Images without the SHA-256 of their files say nothing of their list.
func TestStatusReportSignsImageWithoutDigests(t *testing.T) {
	p := newStreamingPod(t)
	p.skipsDigests = true
	p.write(t, "source/w.bin", "weights")
	p.addKey(t)
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	assert.Empty(t, p.signedList(t))
}
