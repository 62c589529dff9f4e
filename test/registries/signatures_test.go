package registries

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// writeKey writes a signing key as a Secret has it, and returns the file with the public
// key.
func writeKey(t *testing.T, dir string) (public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	public = filepath.Join(dir, "cosign.pub")
	require.NoError(t, os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644))
	return public
}

// referrersOf returns the artifacts that refer to an image, as other clients find them, and
// their repository.
func referrersOf(t *testing.T, image string) (name.Repository, []v1.Descriptor) {
	t.Helper()
	ref, err := name.ParseReference(image, name.Insecure)
	require.NoError(t, err)
	index, err := remote.Referrers(ref.Context().Digest(content.Digest(t, image)))
	require.NoError(t, err)
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	return ref.Context(), manifest.Manifests
}

// bundles returns the files with what is signed of an image, by the type of the statement,
// and of the build if it is a provenance.
func bundles(t *testing.T, image string) map[string]string {
	t.Helper()
	repository, referrers := referrersOf(t, image)
	files := map[string]string{}
	for _, d := range referrers {
		text := blobOf(t, repository.Digest(d.Digest.String()))
		require.Equal(t, d.Annotations["dev.sigstore.bundle.predicateType"], statementIn(t, text).PredicateType)
		kind := kindOf(t, text)
		require.NotContains(t, files, kind, "each is stored once")
		files[kind] = filepath.Join(tempDir(t), "bundle.json")
		require.NoError(t, os.WriteFile(files[kind], text, 0o644))
	}
	return files
}

// deleteReferrer deletes the artifact with a bundle of a kind. Without a referrers API, the
// index at the tag lists it still.
func deleteReferrer(t *testing.T, image, kind string) {
	t.Helper()
	repository, referrers := referrersOf(t, image)
	deleted := 0
	for _, d := range referrers {
		artifact := repository.Digest(d.Digest.String())
		if text := blobOf(t, artifact); kindOf(t, text) == kind {
			require.NoError(t, remote.Delete(artifact))
			deleted++
		}
	}
	require.Equal(t, 1, deleted)
}

// blobOf returns the only blob of an artifact.
func blobOf(t *testing.T, ref name.Digest) []byte {
	t.Helper()
	artifact, err := remote.Image(ref)
	require.NoError(t, err)
	layers, err := artifact.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	reader, err := layers[0].Compressed()
	require.NoError(t, err)
	text, err := io.ReadAll(reader)
	require.NoError(t, err)
	return text
}

// kindOf returns the type of the statement in a bundle, or that of the build if it is a
// provenance.
func kindOf(t *testing.T, bundle []byte) string {
	t.Helper()
	statement := statementIn(t, bundle)
	return cmp.Or(statement.Predicate.BuildDefinition.BuildType, statement.PredicateType)
}

// statement is what a bundle states, as far as the tests read it.
type statement struct {
	PredicateType string
	Subject       []struct{ Digest map[string]string }
	Predicate     struct{ BuildDefinition struct{ BuildType string } }
}

// statementIn returns the statement in a bundle.
func statementIn(t *testing.T, bundle []byte) (s statement) {
	t.Helper()
	var parsed struct{ DSSEEnvelope struct{ Payload []byte } }
	require.NoError(t, json.Unmarshal(bundle, &parsed))
	require.NoError(t, json.Unmarshal(parsed.DSSEEnvelope.Payload, &s))
	return s
}

// sigstore verifies a bundle with sigstore-go, and returns why that fails.
func sigstore(t *testing.T, kind, key, subject, bundle string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program("sigstore"), kind, key, subject, bundle).CombinedOutput()
	if err == nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

const (
	imageStatement      = "https://sigstore.dev/cosign/sign/v1"
	provenanceStatement = "https://github.com/modelkiln/modelkiln/blob/main/api/docs/verify.md#provenance"
	trainingStatement   = "https://github.com/modelkiln/modelkiln/blob/main/api/docs/verify.md#training"
	filesStatement      = "https://model_signing/signature/v1.0"
)

// What the steps sign is verified by sigstore-go and, of the files, by the algorithm of
// OpenSSF Model Signing.
func TestSignatures(t *testing.T) {
	forEachRegistry(t, func(t *testing.T, registry string) {
		first := signedPod(t, registry)
		key := filepath.Join(first.signingDir, "cosign.pub")
		image, digest := bundles(t, first.image()), content.Digest(t, first.image())
		require.Len(t, image, 4)
		assert.Empty(t, sigstore(t, "image", key, digest, image[imageStatement]))
		assert.Empty(t, sigstore(t, "provenance", key, digest, image[provenanceStatement]))
		assert.Empty(t, sigstore(t, "files", key, first.model, image[filesStatement]))
		assert.Empty(t, sigstore(t, "training", key, digest, image[trainingStatement]))
		overFiles, err := os.ReadFile(image[filesStatement])
		require.NoError(t, err)
		root := statementIn(t, overFiles).Subject[0].Digest["sha256"]
		assert.Empty(t, sigstore(t, "training", key, root, image[trainingStatement]), "it is about the files, too")

		t.Run("a retry adds nothing", func(t *testing.T) {
			code, log := first.run(t, "status-report")
			require.Zero(t, code, log)
			assert.Len(t, bundles(t, first.image()), 4)
		})
		t.Run("another Workflow", func(t *testing.T) {
			first.workflowUID = "wf-2"
			again, _ := first.builds(t)
			assert.True(t, again.Source.AlreadyPushed)
			assert.Len(t, bundles(t, first.image()), 4)
		})
		t.Run("what another user has deleted", func(t *testing.T) {
			deleteReferrer(t, first.image(), provenanceStatement)
			first.workflowUID = "wf-3"
			again, _ := first.builds(t)
			assertAttests(t, again)
			stored := bundles(t, first.image())
			assert.Len(t, stored, 4)
			assert.Empty(t, sigstore(t, "provenance", key, digest, stored[provenanceStatement]))
		})
		t.Run("another key", func(t *testing.T) {
			other := writeKey(t, tempDir(t))
			for kind, bundle := range map[string]string{"image": imageStatement, "provenance": provenanceStatement, "training": trainingStatement} {
				assert.Contains(t, sigstore(t, kind, other, digest, image[bundle]), "failed to verify signature")
			}
			assert.Contains(t, sigstore(t, "files", other, first.model, image[filesStatement]), "failed to verify signature")
		})
		t.Run("another image", func(t *testing.T) {
			second := signedPodWith(t, registry, first.signingDir, "v2", "other weights")
			assert.Contains(t, sigstore(t, "image", key, content.Digest(t, second.image()), image[imageStatement]), "does not match any digest in statement")
			of := bundles(t, second.image())
			assert.Contains(t, sigstore(t, "provenance", key, digest, of[provenanceStatement]), "does not match any digest in statement")
			assert.Contains(t, sigstore(t, "training", key, digest, of[trainingStatement]), "does not match any digest in statement")
			assert.Contains(t, sigstore(t, "files", key, first.model, of[filesStatement]), "does not match any digest in statement")
			assert.Contains(t, sigstore(t, "provenance", key, digest, image[trainingStatement]), "has the build type")
			assert.NotEmpty(t, sigstore(t, "image", key, digest, image[provenanceStatement]), "an attestation is no signature")
		})
		t.Run("a changed file", func(t *testing.T) {
			first.write(t, "w.bin", "WEIGHTS")
			assert.Contains(t, sigstore(t, "files", key, first.model, image[filesStatement]), "does not match any digest in statement")
			first.write(t, "w.bin", "weights")
			assert.Empty(t, sigstore(t, "files", key, first.model, image[filesStatement]))
			first.write(t, "extra", "")
			assert.NotEmpty(t, sigstore(t, "files", key, first.model, image[filesStatement]))
		})
	})
}

// signedPod builds and signs an image.
func signedPod(t *testing.T, registry string) *pod {
	t.Helper()
	dir := tempDir(t)
	writeKey(t, dir)
	return signedPodWith(t, registry, dir, "v1", "weights")
}

func signedPodWith(t *testing.T, registry, signingDir, tag, weights string) *pod {
	t.Helper()
	p := newPod(t, registry)
	p.signingDir, p.tag = signingDir, tag
	p.write(t, "w.bin", weights)
	p.write(t, "tok.json", "{}")
	p.write(t, "tok/vocab.txt", "vocab")
	p.write(t, ".gitattributes", "*.bin filter=lfs")
	p.write(t, "README.md", "---\nlicense: mit\nbase_model: acme/base\n---\n")
	require.NoError(t, os.Symlink("tok.json", p.source("tokenizer.json")))
	require.NoError(t, os.Symlink("tok", p.source("current")))
	require.NoError(t, os.Symlink("current/vocab.txt", p.source("vocab.txt")))
	built, _ := p.builds(t)
	require.NotNil(t, built.Image.Signature)
	assertAttests(t, built)
	return p
}

func assertAttests(t *testing.T, built report.Report) {
	t.Helper()
	assert.Equal(t, []string{"Bundle", "Tag"}, built.Image.Signature.Formats)
	assert.Equal(t, []string{"Files", "Provenance", "Training"}, built.Image.Signature.Attestations)
}
