package registry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answer returns what the library makes of a response.
func answer(t *testing.T, code int, body string) *transport.Error {
	t.Helper()
	recorded := httptest.NewRecorder()
	recorded.WriteHeader(code)
	_, err := recorded.WriteString(body)
	require.NoError(t, err)
	var resp *transport.Error
	require.ErrorAs(t, transport.CheckError(recorded.Result(), http.StatusOK), &resp)
	return resp
}

func specified(code, message string) string {
	return fmt.Sprintf(`{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

func TestKindByWords(t *testing.T) {
	for name, tc := range map[string]struct {
		code int
		body string
		want Kind
	}{
		"Harbor's quota":               {403, specified("DENIED", "adding 2.0 GiB of storage resource, which when updated to current usage of 9.0 GiB will exceed the configured upper limit of 10.0 GiB."), QuotaExceeded},
		"a quota as 412":               {412, specified("PRECONDITION", "Quota exceeded when processing the request of adding 1.0 GiB of storage resource"), QuotaExceeded},
		"ECR's number of images":       {403, specified("LimitExceededException", "The repository has reached its limit; LimitExceeded"), QuotaExceeded},
		"a full disk":                  {400, specified("UNKNOWN", "write /var/lib/registry/x: no space left on device"), QuotaExceeded},
		"507":                          {507, "", QuotaExceeded},
		"nginx":                        {413, "<html><head><title>413 Request Entity Too Large</title></head></html>", QuotaExceeded},
		"GitHub's request size":        {416, specified("REQUESTED_RANGE_NOT_SATISFIABLE", "the request body is too large and exceeds the maximum permissible limit of 4.00MiB"), QuotaExceeded},
		"a layer size":                 {400, specified("SIZE_INVALID", "Uploaded blob is larger than allowed by this registry"), QuotaExceeded},
		"Harbor's immutable tag":       {412, specified("PRECONDITION", "Failed to process request due to 'models/resnet:v1' configured as immutable."), TagImmutable},
		"ECR's immutable tag":          {400, specified("TAG_INVALID", "The image tag 'v1' already exists in the 'resnet' repository and cannot be overwritten because the repository is immutable."), TagImmutable},
		"Harbor's signature policy":    {412, specified("PROJECTPOLICYVIOLATION", "The image is not signed by cosign."), PolicyDenied},
		"Harbor's scan policy":         {412, specified("PROJECTPOLICYVIOLATION", "current image without vulnerability scanning cannot be pulled due to configured policy"), PolicyDenied},
		"a scan policy as 403":         {403, specified("DENIED", "image has 3 critical vulnerabilities"), PolicyDenied},
		"412 without words":            {412, "", PolicyDenied},
		"IAM":                          {403, specified("DENIED", "User: arn:aws:iam::1:role/x is not authorized to perform: ecr:PutImage because no identity-based policy allows the ecr:PutImage action"), Unauthorized},
		"403 without words":            {403, "", Unauthorized},
		"Docker Hub's denial":          {401, specified("UNAUTHORIZED", "authentication required"), Unauthorized},
		"Docker Hub's missing one":     {403, specified("DENIED", "requested access to the resource is denied: repository does not exist or may require authorization"), Unauthorized},
		"ECR's repository":             {404, specified("NAME_UNKNOWN", "The repository with name 'resnet' does not exist in the registry with id '123456789012'"), RepositoryMissing},
		"Artifact Registry's":          {404, specified("NAME_UNKNOWN", `Repository "models" not found`), RepositoryMissing},
		"Harbor's project":             {404, specified("NOT_FOUND", "project models not found"), RepositoryMissing},
		"an unknown manifest":          {404, specified("MANIFEST_UNKNOWN", "manifest unknown"), NotFound},
		"404 without words":            {404, "", NotFound},
		"a media type":                 {400, specified("MANIFEST_INVALID", "manifest invalid: unsupported layer media type application/vnd.oci.image.layer.v1.tar+zstd"), Unsupported},
		"415":                          {415, "", Unsupported},
		"Docker Hub's rate":            {429, specified("TOOMANYREQUESTS", "You have reached your pull rate limit."), RateLimited},
		"ECR's rate":                   {400, specified("ThrottlingException", "Rate exceeded"), RateLimited},
		"a proxy's error":              {502, "<html>502 Bad Gateway</html>", Unreachable},
		"an error that mentions quota": {500, specified("UNKNOWN", "quota service unavailable"), Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			resp := answer(t, tc.code, tc.body)
			assert.Equal(t, tc.want, kindOf(resp.StatusCode, textOf(resp)), tc.body)
		})
	}
}

func TestKindOfMessage(t *testing.T) {
	for message, want := range map[string]struct {
		kind  Kind
		found bool
	}{
		"error pushing image: failed to push to destination h/quota:v1: POST https://h/v2/quota/blobs/uploads/: unexpected status code 401 Unauthorized": {Unauthorized, true},
		"PUT https://h/v2/x/manifests/v1: DENIED: image is not signed":                                                                                   {PolicyDenied, true},
		RedactQueries("PATCH https://h/v2/x/blobs/uploads/1?_state=abc: unexpected status code 413 Request Entity Too Large: <html>"):                    {QuotaExceeded, true},
		RedactQueries("PUT https://h/v2/x/blobs/uploads/1?_state=abc&digest=sha256%3A1: DENIED: adding 2.0 GiB will exceed the limit"):                   {QuotaExceeded, true},
		`error building image: Get "https://h/v2/": dial tcp 10.0.0.1:443: connect: connection refused`:                                                  {Unreachable, false},
		"error building image: failed to take snapshot: write /kaniko/123: no space left on device":                                                      {Unreachable, false},
	} {
		kind, found := KindOfMessage(message)
		assert.Equal(t, want.found, found, message)
		assert.Equal(t, want.kind, kind, message)
	}
}

func TestRegistryWordsInMessages(t *testing.T) {
	repository, err := name.NewRepository("harbor.example.com/models/resnet")
	require.NoError(t, err)
	credentials := credentialsFor(t, `{"auths": {"harbor.example.com": {"username":"robot","password":"s3cret-7f3a"}}}`)
	r := &Repository{name: repository, account: "Secret regcred", credentials: credentials}
	for name, tc := range map[string]struct{ message, want string }{
		"its words":      {"adding 2.0 GiB will exceed the limit", ". The registry reports: adding 2.0 GiB will exceed the limit"},
		"several lines":  {"quota\n\texceeded\u202e.", ". The registry reports: quota exceeded"},
		"a password":     {"quota of s3cret-7f3a", ". The registry reports: quota of ***"},
		"a signed URL":   {"quota at https://s3.example.com/a?X-Amz-Signature=abc", ". The registry reports: quota at https://s3.example.com/a?***"},
		"a long message": {"quota " + strings.Repeat("a", 500), "aaa…"},
	} {
		t.Run(name, func(t *testing.T) {
			err := r.explain(answer(t, http.StatusForbidden, specified("DENIED", tc.message)))
			assertKind(t, QuotaExceeded, err, "harbor.example.com rejected the upload to models/resnet (403 Forbidden): raise the registry's request size limit or storage quota. The registry reports: ")
			assert.True(t, strings.HasSuffix(err.Error(), tc.want), err.Error())
			assert.Less(t, len([]rune(err.Error())), 500)
		})
	}
}
