package remote

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
)

func TestLocation(t *testing.T) {
	const commit = "0d4b76e1efeb5eb6f6b5e757c79870472e04bd3a"
	for name, tt := range map[string]struct {
		location         Location
		source, revision string
		stored           string
	}{
		"Amazon S3": {
			Location{S3: &S3{Bucket: "models", Prefix: "llama/3"}}, "s3://models/llama/3", "",
			`{"s3": {"bucket": "models", "prefix": "llama/3"}}`,
		},
		"another object store": {
			Location{S3: &S3{Endpoint: "https://minio.example.com:9000", Region: "eu", Bucket: "models", Prefix: "llama"}}, "https://minio.example.com:9000/models/llama", "",
			`{"s3": {"endpoint": "https://minio.example.com:9000", "region": "eu", "bucket": "models", "prefix": "llama"}}`,
		},
		"Hugging Face": {
			Location{HuggingFace: &HuggingFace{Repo: "org/name", Revision: commit}}, "https://huggingface.co/org/name", commit,
			`{"huggingFace": {"repo": "org/name", "revision": "` + commit + `"}}`,
		},
		"another hub": {
			Location{HuggingFace: &HuggingFace{Endpoint: "https://hub.example.com/", Repo: "name"}}, "https://hub.example.com/name", "",
			`{"huggingFace": {"endpoint": "https://hub.example.com/", "repo": "name"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.source, tt.location.Source())
			assert.Equal(t, tt.revision, tt.location.Revision())
			stored, err := json.Marshal(tt.location)
			require.NoError(t, err)
			assert.JSONEq(t, tt.stored, string(stored))
		})
	}
}

// Nothing is requested from a location that is refused: the hosts do not exist.
func TestOpenRefuses(t *testing.T) {
	access := Access{
		S3Rules: sourcepolicy.S3Rules{Allowed: []string{"s3.invalid"}},
		HFRules: sourcepolicy.HuggingFaceRules{Allowed: []string{"hub.invalid"}},
	}
	for name, tt := range map[string]struct {
		location     Location
		reason, says string
	}{
		"another object store":   {Location{S3: &S3{Bucket: "models", Prefix: "a"}}, v1alpha1.ReasonSourceForbidden, "(allowedS3)"},
		"a whole bucket":         {Location{S3: &S3{Endpoint: "https://s3.invalid", Bucket: "models"}}, v1alpha1.ReasonInvalidSpec, "set storage.s3.prefix"},
		"a bucket with a space":  {Location{S3: &S3{Endpoint: "https://s3.invalid", Bucket: "my models", Prefix: "a"}}, v1alpha1.ReasonInvalidSpec, "correct storage.s3.bucket"},
		"an endpoint and a path": {Location{S3: &S3{Endpoint: "https://s3.invalid/x", Bucket: "models", Prefix: "a"}}, v1alpha1.ReasonSourceForbidden, "not the address of a server"},
		"another hub":            {Location{HuggingFace: &HuggingFace{Repo: "org/name"}}, v1alpha1.ReasonSourceForbidden, "(allowedHuggingFace)"},
		"another API of the hub": {Location{HuggingFace: &HuggingFace{Endpoint: "https://hub.invalid", Repo: "../../datasets/x"}}, v1alpha1.ReasonInvalidSpec, "is not the name of a repository"},
		"a file of a repository": {Location{HuggingFace: &HuggingFace{Endpoint: "https://hub.invalid", Repo: "org/name/x"}}, v1alpha1.ReasonInvalidSpec, "is not the name of a repository"},
		"dots in the repository": {Location{HuggingFace: &HuggingFace{Endpoint: "https://hub.invalid", Repo: "org/a..b"}}, v1alpha1.ReasonInvalidSpec, "is not the name of a repository"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), &tt.location, access)
			assertFailure(t, tt.reason, false, tt.says, err)
		})
	}
}

func TestOpenWithABrokenBundle(t *testing.T) {
	access := Access{S3Rules: sourcepolicy.S3Rules{Allowed: []string{"s3.invalid"}}, CAFile: "location_test.go"}
	_, err := Open(t.Context(), &Location{S3: &S3{Endpoint: "https://s3.invalid", Bucket: "models", Prefix: "a"}}, access)
	require.ErrorContains(t, err, "contains no certificate")
}

// Requests do not name a default port, nor capital letters of a host.
func TestParseEndpoint(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://MinIO.example.com:443": "https://minio.example.com", "http://minio.example.com:80": "http://minio.example.com",
		"https://minio.example.com:80": "https://minio.example.com:80", "https://[::1]:443": "https://[::1]", "https://[::1]:9000": "https://[::1]:9000",
	} {
		got, err := parseEndpoint(endpoint)
		require.NoError(t, err)
		assert.Equal(t, want, got.String())
	}
}
