package inject_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/test/builders"
)

// signature returns the status of an image that a key has signed.
func signature(t *testing.T, key *sign.Key, digest string) *v1alpha1.SignatureStatus {
	t.Helper()
	bundle, err := key.SignImage(sign.Image{Repository: "modelhub/resnet", Digest: digest})
	require.NoError(t, err)
	return &v1alpha1.SignatureStatus{Bundle: string(bundle)}
}

func TestVerificationProblem(t *testing.T) {
	platform, team, unknown := builders.NewSigningKey(t), builders.NewSigningKey(t), builders.NewSigningKey(t)
	provenance, err := platform.SignProvenance(sign.Image{Digest: builders.Digest}, sign.Provenance{})
	require.NoError(t, err)
	keys := []inject.VerificationKey{{Namespaces: []string{inject.AllNamespaces}, Key: platform.Public()}, {Namespaces: []string{"team-a", "team-b"}, Key: team.Public()}}
	rebuild := `kubectl annotate mv -n team-c mv-3 model.kubedl.io/rebuild="$(date +%s)" --overwrite`

	for name, tt := range map[string]struct {
		mode      inject.VerificationMode
		keys      []inject.VerificationKey
		signature *v1alpha1.SignatureStatus
		namespace string
		want      string
	}{
		"off":                          {mode: inject.VerificationOff},
		"not configured":               {},
		"signed by the platform":       {mode: inject.VerificationRequire, keys: keys, signature: signature(t, platform, builders.Digest)},
		"signed by the team":           {mode: inject.VerificationRequire, keys: keys, signature: signature(t, team, builders.Digest), namespace: "team-b"},
		"signed by another team":       {mode: inject.VerificationRequire, keys: keys, signature: signature(t, team, builders.Digest), want: "the signature in its status is not valid in the namespace team-c: it was not made with one of these keys, or was changed. To sign the image again, with one of the keys in verification.keys: " + rebuild},
		"signed by nobody that counts": {mode: inject.VerificationWarn, keys: keys, signature: signature(t, unknown, builders.Digest), want: "it was not made with one of these keys"},
		"not signed":                   {mode: inject.VerificationRequire, keys: keys, want: "its image is not signed: create a Secret with a signing key, for example with cosign generate-key-pair k8s://team-c/modelkiln-signing, ask the platform team to add its public key, and sign the image with: " + rebuild},
		"an empty signature":           {mode: inject.VerificationRequire, keys: keys, signature: &v1alpha1.SignatureStatus{}, want: "its image is not signed"},
		"the signature of another image, which a user wrote into the status": {
			mode: inject.VerificationRequire, keys: keys, signature: signature(t, platform, "sha256:"+strings.Repeat("0", 64)), want: "it is that of another image",
		},
		"an attestation instead of a signature": {
			mode: inject.VerificationRequire, keys: keys, signature: &v1alpha1.SignatureStatus{Bundle: string(provenance)}, want: "it is a statement of another type",
		},
		"no key for the namespace": {
			mode: inject.VerificationRequire, keys: keys[1:], signature: signature(t, platform, builders.Digest),
			want: "the operator's configuration has no key for the namespace team-c in verification.keys: ask the platform team to add one",
		},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := tt.namespace
			if namespace == "" {
				namespace = "team-c"
			}
			mv := builders.MakeModelVersion("mv-3", namespace).Built("modelhub/resnet:v1", builders.Digest).Obj()
			mv.Status.Signature = tt.signature
			got := inject.Verification{Mode: tt.mode, Keys: tt.keys}.Problem(mv)
			if tt.want == "" {
				assert.Empty(t, got)
				return
			}
			assert.Contains(t, got, tt.want)
		})
	}
}
