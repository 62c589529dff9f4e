//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

const keyPassword = "only-for-the-signing-test"

// signingSecret returns a Secret with a key as cosign creates it, and the public key.
func signingSecret(t *testing.T, namespace, secret string) (*corev1.Secret, sign.PublicKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	sealed, err := encrypted.Encrypt(der, []byte(keyPassword))
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: sealed})
	key, err := sign.ParseKey(text, []byte(keyPassword))
	require.NoError(t, err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secret},
		Data:       map[string][]byte{"cosign.key": text, "cosign.password": []byte(keyPassword), "cosign.pub": key.Public().PEM()},
	}, key.Public()
}

// assertSigned checks the signature in the status, and that the registry has it, the
// provenance, the signature over the files, and so many artifacts more.
func assertSigned(t *testing.T, mv *v1alpha1.ModelVersion, key sign.PublicKey, more int) {
	t.Helper()
	signature := mv.Status.Signature
	require.NotNil(t, signature)
	require.NoError(t, sign.VerifyImage([]byte(signature.Bundle), mv.Status.Digest, []sign.PublicKey{key}))
	assert.Equal(t, key.ID(), signature.KeyID)
	ref, err := name.ParseReference(mv.Status.Image, name.Insecure)
	require.NoError(t, err)
	index, err := remote.Referrers(ref.Context().Digest(mv.Status.Digest))
	require.NoError(t, err)
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	assert.Len(t, manifest.Manifests, 3+more)
}

// The key is mounted by kubelet, and only where it is needed.
func TestSigning(t *testing.T) {
	t.Parallel()
	for _, engine := range []v1alpha1.BuildEngine{v1alpha1.Kaniko, v1alpha1.Stream} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			ns := live.namespace(t)
			dir := model(t)
			secret, key := signingSecret(t, ns, contract.DefaultSigningSecret)
			live.create(t, secret)

			mv := live.built(t, makeVersion("signed", ns, dir).Engine(engine).New())

			assertImage(t, mv, dir)
			assertSigned(t, mv, key, 0)
			log := run(t, "kubectl", "logs", "-n", ns, "-l", workflowLabel+"="+mv.Status.Workflow.Name, "--all-containers", "--tail=-1")
			assert.Contains(t, log, "signed with the key of Secret "+contract.DefaultSigningSecret)
			assert.NotContains(t, log, keyPassword)
		})
	}
}

// What is declared and what files state is attested, once for all Workflows.
func TestSigningOfTraining(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	dir.write(t, "README.md", "---\nlicense: mit\nbase_model: acme/base\n---\n# Faces\n")
	secret, key := signingSecret(t, ns, contract.DefaultSigningSecret)
	live.create(t, secret)
	mv := makeVersion("signed", ns, dir).Engine(v1alpha1.Stream).New()
	mv.Spec.Lineage = &v1alpha1.Lineage{Datasets: []v1alpha1.Resource{{Name: "faces", URI: "s3://data/faces/v3"}}, Parameters: map[string]v1alpha1.LineageText{"learning-rate": "3e-4 {{x}}"}}

	built := live.built(t, mv)

	assert.Contains(t, built.Status.Signature.Attestations, v1alpha1.TrainingAttestation)
	assertSigned(t, built, key, 1)
	var kinds []v1alpha1.LineageKind
	for _, fact := range built.Status.Lineage.Facts {
		kinds = append(kinds, fact.Kind)
	}
	assert.ElementsMatch(t, []v1alpha1.LineageKind{v1alpha1.DatasetFact, v1alpha1.ParameterFact, v1alpha1.LicenseFact, v1alpha1.BaseModelFact}, kinds)
	rebuild(t, built)
	again := live.settled(t, built, func(now *v1alpha1.ModelVersion) bool {
		return strings.Contains(now.Status.Message, "found it there again")
	})
	assertSigned(t, again, key, 1)
}

// A Secret that the ModelVersion names must exist. The image is pushed meanwhile, and
// is only signed by the next attempt.
func TestSigningKeyMissing(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	mv, took := live.failed(t, makeVersion("signed", ns, dir).Engine(v1alpha1.Stream).SigningSecret("team-signing").New())
	assertFailed(t, mv, v1alpha1.ReasonSigningKeyMissing, "team-signing")
	logNoticed(t, mv, took)
	secret, key := signingSecret(t, ns, "team-signing")
	live.create(t, secret)
	rebuild(t, mv)
	assertSigned(t, live.readyAgain(t, mv), key, 0)
}

// An image that was built without a key is signed afterwards.
func TestSigningAfterwards(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	mv := live.built(t, makeVersion("signed", ns, dir).Engine(v1alpha1.Stream).New())
	require.Nil(t, mv.Status.Signature)
	secret, key := signingSecret(t, ns, contract.DefaultSigningSecret)
	live.create(t, secret)
	rebuild(t, mv)
	signed := live.settled(t, mv, func(now *v1alpha1.ModelVersion) bool { return now.Status.Signature != nil })
	assert.Equal(t, mv.Status.Digest, signed.Status.Digest)
	assertSigned(t, signed, key, 0)
}
