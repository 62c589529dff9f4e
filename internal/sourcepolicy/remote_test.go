package sourcepolicy

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestS3RulesCheck(t *testing.T) {
	rules := S3Rules{Allowed: []string{"minio.example.com:9000", "s3.amazonaws.com/models", "s3.amazonaws.com/shared/team-a", "http://plain.example.com"}}
	tests := map[string]struct {
		endpoint, bucket, prefix string
		want                     string // a part of the error; empty if allowed
	}{
		"any bucket of an endpoint":       {"https://minio.example.com:9000", "anything", "a", ""},
		"a host in other case":            {"https://MinIO.example.com:9000", "anything", "a", ""},
		"another port":                    {"https://minio.example.com", "anything", "a", "minio.example.com/anything/a is not"},
		"the same endpoint by plain HTTP": {"http://minio.example.com:9000", "anything", "a", "http://minio.example.com:9000/anything/a is not"},
		"a bucket":                        {DefaultS3Endpoint, "models", "llama/1", ""},
		"the default port":                {DefaultS3Endpoint + ":443", "models", "llama/1", "s3.amazonaws.com:443/models/llama/1 is not"},
		"a bucket with the same start":    {DefaultS3Endpoint, "models-secret", "llama/1", "(allowedS3): move the model to"},
		"a prefix":                        {DefaultS3Endpoint, "shared", "team-a/llama", ""},
		"a prefix with the same start":    {DefaultS3Endpoint, "shared", "team-ab/llama", "is not"},
		"a prefix with dots":              {DefaultS3Endpoint, "shared", "team-a/../team-b", "'..'"},
		"a bucket with dots":              {DefaultS3Endpoint, "..", "shared/team-a", "'..'"},
		"a slash too many":                {DefaultS3Endpoint, "shared", "/team-a/llama", "without '//'"},
		"plain HTTP that is allowed":      {"http://plain.example.com", "b", "a", ""},
		"HTTPS where HTTP is allowed":     {"https://plain.example.com", "b", "a", "is not"},
		"a path in the endpoint":          {"https://minio.example.com:9000/x", "b", "a", "not the address of a server"},
		"an account in the endpoint":      {"https://a:b@minio.example.com:9000", "b", "a", "not the address of a server"},
		"a query in the endpoint":         {"https://minio.example.com:9000?x", "b", "a", "not the address of a server"},
		"no scheme":                       {"minio.example.com:9000", "b", "a", "not the address of a server"},
		"another scheme":                  {"file:///etc", "b", "a", "not the address of a server"},
		"a slash at the end":              {DefaultS3Endpoint, "models", "llama/", "slashes at its ends"},
		"no bucket":                       {DefaultS3Endpoint, "", "models", "without '//'"},
		"a line break":                    {DefaultS3Endpoint, "models", "a\nb", "control characters"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := rules.Check(tt.endpoint, tt.bucket, tt.prefix)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
	require.ErrorContains(t, S3Rules{}.Check(DefaultS3Endpoint, "models", "a"), "since allowedS3 is empty: ask the platform team")
}

func TestHuggingFaceRulesCheck(t *testing.T) {
	rules := HuggingFaceRules{Allowed: []string{"huggingface.co/mistralai", "hub.example.com"}}
	require.NoError(t, rules.Check(DefaultHuggingFaceEndpoint, "mistralai/Mistral-7B-v0.3"))
	require.NoError(t, rules.Check("https://hub.example.com", "any/model"))
	require.ErrorContains(t, rules.Check(DefaultHuggingFaceEndpoint, "mistralai2/x"), "(allowedHuggingFace)")
	require.ErrorContains(t, rules.Check("http://hub.example.com", "any/model"), "is not")
	require.ErrorContains(t, HuggingFaceRules{}.Check(DefaultHuggingFaceEndpoint, "a/b"), "since allowedHuggingFace is empty")
}

func TestHuggingFaceRulesAllowsRedirect(t *testing.T) {
	hub := []string{"huggingface.co/mistralai", "cdn.example.com"}
	tests := map[string]struct {
		allowed []string
		to      string
		want    bool
	}{
		"the hub":                        {hub, "https://huggingface.co/x", true},
		"storage of Hugging Face":        {hub, "https://cas-bridge.xethub.hf.co/x?sig=1", true},
		"older storage of Hugging Face":  {hub, "https://cdn-lfs.huggingface.co/x", true},
		"storage by plain HTTP":          {hub, "http://cdn-lfs.huggingface.co/x", false},
		"storage at another port":        {hub, "https://cdn-lfs.huggingface.co:8443/x", false},
		"a name that ends like it":       {hub, "https://evilhf.co/x", false},
		"a host of the list":             {hub, "https://cdn.example.com/x", true},
		"another host":                   {hub, "https://169.254.169.254/x", false},
		"storage without the hub itself": {[]string{"hub.example.com"}, "https://cdn-lfs.hf.co/x", false},
		"plain HTTP of the list":         {[]string{"http://cdn.example.com:80"}, "http://cdn.example.com:80/x", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			to, err := url.Parse(tt.to)
			require.NoError(t, err)
			assert.Equal(t, tt.want, HuggingFaceRules{Allowed: tt.allowed}.AllowsRedirect(to))
		})
	}
}

func TestCheckRemoteEntry(t *testing.T) {
	for _, entry := range []string{"huggingface.co", "huggingface.co/org", "http://127.0.0.1:7070/models", "[::1]:9000", "s3.amazonaws.com/models/team a"} {
		require.NoError(t, CheckRemoteEntry(entry), entry)
	}
	for _, entry := range []string{"", "/models", "https://", "s3.amazonaws.com/", "a,b", "ftp://host", "host/../x", "user@host/x", "Host/x"} {
		require.Error(t, CheckRemoteEntry(entry), entry)
	}
}
