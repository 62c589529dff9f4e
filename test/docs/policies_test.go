package docs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/internal/sign"
)

const policySamples = "../../deploy/policy/verify"

var publicKey = regexp.MustCompile(`(?s)-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----`)

// The samples for other policy engines can be parsed, have a key that can be, and say what
// is not known of them. No kustomization includes them.
func TestPolicySamples(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(policySamples, "README.md"))
	require.NoError(t, err)
	kinds := map[string]string{
		"kyverno-imagevalidatingpolicy.yaml": "policies.kyverno.io/v1 ImageValidatingPolicy",
		"kyverno-clusterpolicy.yaml":         "kyverno.io/v1 ClusterPolicy",
		"policy-controller.yaml":             "policy.sigstore.dev/v1beta1 ClusterImagePolicy",
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(policySamples, name))
			require.NoError(t, err)
			var object unstructured.Unstructured
			require.NoError(t, yaml.UnmarshalStrict(text, &object.Object))
			assert.Equal(t, kind, object.GetAPIVersion()+" "+object.GetKind())
			raw, err := json.Marshal(object.Object)
			require.NoError(t, err)
			keys := publicKey.FindAllString(string(raw), -1)
			assert.NotEmpty(t, keys)
			for _, key := range keys {
				var decoded string
				require.NoError(t, json.Unmarshal([]byte(`"`+key+`"`), &decoded))
				_, err := sign.ParsePublicKey([]byte(decoded))
				require.NoError(t, err)
			}
			assert.Contains(t, string(text), "# Image volumes: ")
			assert.Regexp(t, `and was not\s(# )?run\.`, string(text))
			assert.Contains(t, string(readme), "("+name+")")
		})
	}
	samples, err := filepath.Glob(filepath.Join(policySamples, "*.yaml"))
	require.NoError(t, err)
	assert.Len(t, samples, len(kinds))
	kustomizations, err := filepath.Glob("../../deploy/policy/*/kustomization.yaml")
	require.NoError(t, err)
	assert.NotContains(t, kustomizations, filepath.Join(policySamples, "kustomization.yaml"))
}

// policyJSON is the file of CRI-O and podman, as far as the sample uses it
// (https://github.com/containers/image/blob/main/docs/containers-policy.json.5.md).
type policyJSON struct {
	Default    []requirement                       `json:"default"`
	Transports map[string]map[string][]requirement `json:"transports"`
}

type requirement struct {
	Type           string `json:"type"`
	KeyPath        string `json:"keyPath"`
	SignedIdentity struct {
		Type string `json:"type"`
	} `json:"signedIdentity"`
}

func TestPolicySampleOfContainers(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(policySamples, "containers/policy.json"))
	require.NoError(t, err)
	var policy policyJSON
	require.NoError(t, json.Unmarshal(text, &policy))
	assert.Equal(t, []requirement{{Type: "insecureAcceptAnything"}}, policy.Default)
	text, err = os.ReadFile(filepath.Join(policySamples, "containers/registries.d.yaml"))
	require.NoError(t, err)
	var lookaside struct {
		Docker map[string]struct {
			UseSigstoreAttachments bool `json:"use-sigstore-attachments"`
		} `json:"docker"`
	}
	require.NoError(t, yaml.UnmarshalStrict(text, &lookaside))
	for repository, requirements := range policy.Transports["docker"] {
		require.Len(t, requirements, 1)
		assert.Equal(t, "sigstoreSigned", requirements[0].Type)
		assert.Equal(t, "matchRepository", requirements[0].SignedIdentity.Type)
		assert.True(t, lookaside.Docker[repository].UseSigstoreAttachments, "signatures are looked up where Modelkiln stores them")
	}
	assert.Len(t, lookaside.Docker, 1)
}
