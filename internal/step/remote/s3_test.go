package remote

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/test/clouds"
)

// hosts are hosts of the internet.
var hosts *clouds.Hosts

func TestMain(m *testing.M) {
	hosts = clouds.StartHosts()
	os.Exit(m.Run())
}

// fakeBucket is a bucket of an object store for what real ones do not do on request. How
// the reader works with a real one is in test/sources.
type fakeBucket struct {
	// list is the answer to requests for a list: the elements Contents.
	list string
	// object answers requests for an object; nil answers with the content "x".
	object http.HandlerFunc

	mu       sync.Mutex
	requests []*http.Request
}

const listed = `<Contents><Key>llama/model.bin</Key><Size>1</Size><ETag>"1"</ETag><LastModified>2026-05-04T03:02:01Z</LastModified></Contents>`

func (b *fakeBucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.requests = append(b.requests, r)
	b.mu.Unlock()
	switch {
	case r.URL.Query().Get("list-type") == "2":
		_, _ = fmt.Fprintf(w, `<ListBucketResult><IsTruncated>false</IsTruncated>%s</ListBucketResult>`, b.list)
	case b.object != nil:
		b.object(w, r)
	default:
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", "Mon, 04 May 2026 03:02:01 GMT")
		_, _ = io.WriteString(w, "x")
	}
}

// refuse answers as an object store that refuses a request.
func refuse(status int, code, message, further string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		var escaped strings.Builder
		_ = xml.EscapeText(&escaped, []byte(message))
		_, _ = fmt.Fprintf(w, `<Error><Code>%s</Code><Message>%s</Message>%s</Error>`, code, escaped.String(), further)
	}
}

// locationIn returns a location in a bucket of a server, and access to it.
func locationIn(t *testing.T, handler http.Handler) (*S3, Access) {
	t.Helper()
	clouds.NoIdentity(t)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	access := Access{S3Rules: sourcepolicy.S3Rules{Allowed: []string{server.URL}}, UserAgent: "modelkiln/test", delay: noDelay}
	return &S3{Endpoint: server.URL, Bucket: "models", Prefix: "llama"}, access
}

func listS3(t *testing.T, location *S3, access Access) ([]layer.SourceEntry, error) {
	t.Helper()
	opened, err := Open(t.Context(), &Location{S3: location}, access)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	return opened.List(t.Context())
}

// identityIn returns the identity of an object with an ETag.
func identityIn(location *S3, etag string) string {
	return "etag:" + location.Endpoint + "/" + location.Bucket + "/" + etag
}

func TestS3List(t *testing.T) {
	content := func(key string, size int, further string) string {
		return fmt.Sprintf(`<Contents><Key>%s</Key><Size>%d</Size><LastModified>2026-05-04T03:02:01.123Z</LastModified>%s</Contents>`, key, size, further)
	}
	b := &fakeBucket{list: content("llama/", 0, "") + content("llama/a/", 0, "") + content("llama/a/b.bin", 0, `<ETag>"abc-2"</ETag>`) + content("llama/c%20d", 0, "")}
	location, access := locationIn(t, b)
	got, err := listS3(t, location, access)
	require.NoError(t, err)
	found := map[string]layer.SourceEntry{}
	for _, e := range got {
		found[e.Path] = e
	}
	assert.Len(t, found, 4)
	assert.Equal(t, identityIn(location, "abc-2"), found["a/b.bin"].Identity)
	assert.Equal(t, time.Date(2026, 5, 4, 3, 2, 1, 123e6, time.UTC), found["a/b.bin"].ModTime.UTC())
	assert.Empty(t, found["c%20d"].Identity)
	assert.Equal(t, "modelkiln/test", b.requests[0].UserAgent())
	assert.Empty(t, location.Region, "no other region was reported")

	for name, tt := range map[string]struct{ list, reason, says string }{
		"no object":                {"", v1alpha1.ReasonSourceMissing, `the bucket models has no objects below "llama/": put the model there`},
		"a directory with content": {content("llama/a/", 1, ""), v1alpha1.ReasonSourceUnsafe, "has content and the name of a directory"},
		"a prefix with content":    {content("llama/", 1, ""), v1alpha1.ReasonSourceUnsafe, "has content and the name of a directory"},
		"an object elsewhere":      {content("other/a", 1, ""), v1alpha1.ReasonSourceUnsafe, "is not below the prefix"},
		"a negative size":          {content("llama/a", -1, ""), v1alpha1.ReasonSourceUnsafe, "negative size"},
		"a parent directory":       {content("llama/../a", 1, ""), v1alpha1.ReasonSourceUnsafe, "no file can have"},
		"a slash too many":         {content("llama//a", 1, ""), v1alpha1.ReasonSourceUnsafe, "no file can have"},
		"the prefix twice":         {content("llama/", 0, "") + content("llama/", 0, ""), v1alpha1.ReasonSourceUnsafe, "is listed twice"},
		"nothing but slashes":      {content("llama//", 0, ""), v1alpha1.ReasonSourceUnsafe, "no file can have"},
	} {
		t.Run(name, func(t *testing.T) {
			location, access := locationIn(t, &fakeBucket{list: tt.list})
			_, err := listS3(t, location, access)
			assertFailure(t, tt.reason, false, tt.says, err)
		})
	}
}

func TestS3Refuses(t *testing.T) {
	const secret = "s3cr3t"
	for name, tt := range map[string]struct {
		answer    http.HandlerFunc
		reason    string
		transient bool
		says      string
	}{
		"no bucket":             {refuse(404, "NoSuchBucket", "The specified bucket does not exist", ""), v1alpha1.ReasonSourceMissing, false, "has no bucket models: correct storage.s3.bucket"},
		"access denied":         {refuse(403, "AccessDenied", "Access Denied.", ""), v1alpha1.ReasonSourceUnauthorized, false, "denied access to the bucket models (AccessDenied: Access Denied): grant s3:ListBucket on the bucket and s3:GetObject below the prefix to these credentials: those in the Secret"},
		"a status without code": {refuse(403, "", "", ""), v1alpha1.ReasonSourceUnauthorized, false, "denied access to the bucket models (Forbidden): grant"},
		"an unknown key":        {refuse(403, "InvalidAccessKeyId", "unknown", ""), v1alpha1.ReasonSourceUnauthorized, false, "rejects the credentials (InvalidAccessKeyId: unknown)"},
		"a wrong key":           {refuse(403, "SignatureDoesNotMatch", "for "+secret+" at https://a/?X-Amz-Signature=1", ""), v1alpha1.ReasonSourceUnauthorized, false, "for *** at https://a/?***"},
		"expired keys":          {refuse(400, "ExpiredToken", "The provided token has expired.", ""), v1alpha1.ReasonSourceUnauthorized, false, "have expired (ExpiredToken: The provided token has expired); credentials: those in the Secret"},
		"requester pays":        {refuse(403, "AccessDenied", "The bucket is a Requester Pays bucket", ""), v1alpha1.ReasonSourceUnauthorized, false, "is a requester-pays bucket, for which builds do not pay: copy the model"},
		"requester pays at GCS": {refuse(400, "UserProjectMissing", "Bucket is a requester pays bucket but no user project provided.", ""), v1alpha1.ReasonSourceUnauthorized, false, "is a requester-pays bucket"},
		"another region":        {refuse(301, "PermanentRedirect", "elsewhere", ""), v1alpha1.ReasonSourceMissing, false, "is in another region or at another endpoint (PermanentRedirect: elsewhere)"},
		"too many requests":     {refuse(503, "SlowDown", "Please reduce your request rate.", ""), v1alpha1.ReasonRateLimited, true, "is rate limiting requests"},
		"a status 429":          {refuse(429, "", "", ""), v1alpha1.ReasonRateLimited, true, "is rate limiting requests"},
		"a server error":        {refuse(500, "InternalError", "We encountered an internal error.", ""), v1alpha1.ReasonSourceUnavailable, true, "responded with the error 500 Internal Server Error: InternalError: We"},
		"another error":         {refuse(400, "InvalidRequest", "Missing header", ""), v1alpha1.ReasonSourceUnavailable, false, "400 Bad Request: InvalidRequest: Missing header"},
		"not an object store":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html><br></html>") }, v1alpha1.ReasonSourceUnavailable, true, "did not answer as an object store does (XML syntax error"},
		"a list without an end": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<ListBucketResult>"+strings.Repeat(" ", maxResponse))
		}, v1alpha1.ReasonSourceUnavailable, false, "sent an answer that is too long"},
	} {
		t.Run(name, func(t *testing.T) {
			location, access := locationIn(t, tt.answer)
			access.SecretDir = secretDir(t, map[string]string{"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": secret})
			_, err := listS3(t, location, access)
			assertFailure(t, tt.reason, tt.transient, tt.says, err)
			assert.NotContains(t, err.Error(), secret)
		})
	}
}

func TestS3RefusesToReadObjects(t *testing.T) {
	class := func(class string) string {
		return strings.Replace(listed, "</Contents>", "<StorageClass>"+class+"</StorageClass></Contents>", 1)
	}
	archived := refuse(403, "InvalidObjectState", "The operation is not valid for the object's storage class", "")
	for name, tt := range map[string]struct {
		list         string
		object       http.HandlerFunc
		reason, says string
	}{
		"an archived object":      {class("GLACIER"), archived, v1alpha1.ReasonSourceUnreadable, `restore it and wait, then retry: aws s3api restore-object --bucket models --key "llama/model.bin"`},
		"one of several":          {strings.Replace(listed, "model", "a", 1) + class("DEEP_ARCHIVE"), archived, v1alpha1.ReasonSourceUnreadable, `--key "llama/model.bin"`},
		"no right to read":        {listed, refuse(403, "AccessDenied", "Access Denied", ""), v1alpha1.ReasonSourceUnauthorized, "s3:GetObject"},
		"an object that is gone":  {listed, refuse(404, "NoSuchKey", "gone", ""), v1alpha1.ReasonSourceChanging, `"model.bin" changed while it was packaged`},
		"another object":          {listed, refuse(412, "PreconditionFailed", "", ""), v1alpha1.ReasonSourceChanging, `"model.bin" changed`},
		"another object, no code": {listed, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(416) }, v1alpha1.ReasonSourceChanging, `"model.bin" changed`},
	} {
		t.Run(name, func(t *testing.T) {
			location, access := locationIn(t, &fakeBucket{list: tt.list, object: tt.object})
			_, err := listS3(t, location, access)
			assertFailure(t, tt.reason, false, tt.says, err)
		})
	}
	t.Run("a restored object", func(t *testing.T) {
		location, access := locationIn(t, &fakeBucket{list: class("GLACIER")})
		_, err := listS3(t, location, access)
		require.NoError(t, err)
	})
}

// Servers exist that ignore conditions or ranges.
func TestS3ChecksWhatItGets(t *testing.T) {
	when := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	const lastModified = "Mon, 04 May 2026 03:02:01 GMT"
	for name, tt := range map[string]struct {
		etag         string
		offset       int64
		header       map[string]string
		reason, says string
	}{
		"the part":                      {"1", 1, map[string]string{"ETag": `"1"`, "Content-Range": "bytes 1-2/3"}, "", ""},
		"a part of unknown size":        {"1", 1, map[string]string{"ETag": `"1"`, "Content-Range": "bytes 1-2/*"}, "", ""},
		"the part of the same time":     {"", 1, map[string]string{"Last-Modified": lastModified, "Content-Range": "bytes 1-2/3"}, "", ""},
		"another ETag":                  {"1", 1, map[string]string{"ETag": `"2"`, "Content-Range": "bytes 1-2/3"}, v1alpha1.ReasonSourceChanging, `"model.bin" changed`},
		"another time":                  {"", 1, map[string]string{"Last-Modified": "Mon, 04 May 2026 03:02:02 GMT", "Content-Range": "bytes 1-2/3"}, v1alpha1.ReasonSourceChanging, `"model.bin" changed`},
		"another size":                  {"1", 1, map[string]string{"ETag": `"1"`, "Content-Range": "bytes 1-2/4"}, v1alpha1.ReasonSourceChanging, `"model.bin" changed`},
		"another part":                  {"1", 1, map[string]string{"ETag": `"1"`, "Content-Range": "bytes 0-1/3"}, v1alpha1.ReasonSourceUnavailable, `sent another part of "model.bin" than was requested (bytes 0-1/3)`},
		"a range that is none":          {"1", 1, map[string]string{"ETag": `"1"`, "Content-Range": "x"}, v1alpha1.ReasonSourceUnavailable, "than was requested (x)"},
		"the whole object":              {"1", 1, map[string]string{"ETag": `"1"`, "Content-Length": "3"}, v1alpha1.ReasonSourceUnavailable, "sends files only as a whole"},
		"the whole object, another one": {"1", 1, map[string]string{"ETag": `"1"`, "Content-Length": "4"}, v1alpha1.ReasonSourceChanging, `"model.bin" changed`},
	} {
		t.Run(name, func(t *testing.T) {
			b := &fakeBucket{object: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Last-Modified", lastModified)
				for key, value := range tt.header {
					w.Header().Set(key, value)
				}
				length := 2
				if tt.header["Content-Length"] != "" {
					length = int(tt.header["Content-Length"][0] - '0')
				}
				if tt.header["Content-Range"] != "" {
					w.WriteHeader(http.StatusPartialContent)
				}
				_, _ = io.WriteString(w, "yyyy"[:length])
			}}
			location, access := locationIn(t, b)
			opened, err := Open(t.Context(), &Location{S3: location}, access)
			require.NoError(t, err)
			planned := layer.Entry{Path: "model.bin", Type: layer.File, Size: 3, ModTime: when.UnixNano()}
			if tt.etag != "" {
				planned.Identity = identityIn(location, tt.etag)
			}
			got, err := read(t, opened, planned, tt.offset)
			request := b.requests[0].Header
			assert.Equal(t, "bytes=1-2", request.Get("Range"))
			if tt.etag == "" {
				assert.Equal(t, "Mon, 04 May 2026 03:02:02 GMT", request.Get("If-Unmodified-Since"))
			} else {
				assert.Equal(t, `"1"`, request.Get("If-Match"))
			}
			if tt.reason == "" {
				require.NoError(t, err)
				assert.Equal(t, "yy", string(got))
				return
			}
			assertFailure(t, tt.reason, false, tt.says, err)
		})
	}
}

// A list of empty objects would take 200 times its size in memory.
func TestS3ListsAreBounded(t *testing.T) {
	location, access := locationIn(t, &fakeBucket{list: strings.Repeat("<Contents/>", maxTags)})
	_, err := listS3(t, location, access)
	assertFailure(t, v1alpha1.ReasonSourceUnavailable, false, "sent an answer that is too long", err)

	const object = `<Contents><Key>llama/%d</Key><LastModified>2026-05-04T03:02:01Z</LastModified><ETag>"1"</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>1</Size>
		<StorageClass>STANDARD</StorageClass><Owner><ID>a</ID><DisplayName>a</DisplayName></Owner><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress><RestoreExpiryDate>2026-05-04T03:02:01Z</RestoreExpiryDate></RestoreStatus></Contents>`
	var page strings.Builder
	for n := range 1000 {
		fmt.Fprintf(&page, object, n)
	}
	location, access = locationIn(t, &fakeBucket{list: page.String()})
	listed, err := listS3(t, location, access)
	require.NoError(t, err, "the longest page of Amazon S3")
	assert.Len(t, listed, 1001)
}

// A store whose list never ends, without an object.
func TestS3PagesAreBounded(t *testing.T) {
	pages := 0
	location, access := locationIn(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		pages++
		_, _ = io.WriteString(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>a</NextContinuationToken></ListBucketResult>`)
	}))
	_, err := listS3(t, location, access)
	assertFailure(t, v1alpha1.ReasonSourceUnavailable, false, "sent an answer that is too long", err)
	assert.Equal(t, maxPages, pages)
}

// Servers without ETags in their lists can have versions. Parts of two of them are not
// mixed, whatever the time and the ETag in the answers are.
func TestS3ChecksVersions(t *testing.T) {
	content := random(2 * partSize)
	for name, tt := range map[string]struct {
		ids  []string
		want string
	}{
		"one version":          {[]string{"v1", "v1"}, ""},
		"no versioning":        {[]string{"", ""}, ""},
		"suspended versioning": {[]string{"null", "null"}, ""},
		"two versions":         {[]string{"v1", "v2"}, v1alpha1.ReasonSourceChanging},
		"a version too few":    {[]string{"v1", ""}, v1alpha1.ReasonSourceChanging},
	} {
		for listing, identity := range map[string]string{"with ETags": "1", "without ETags": ""} {
			t.Run(name+", "+listing, func(t *testing.T) {
				when := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
				location, access := locationIn(t, &fakeBucket{object: func(w http.ResponseWriter, r *http.Request) {
					id := tt.ids[0]
					if !strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
						id = tt.ids[1]
					}
					if id != "" {
						w.Header().Set("X-Amz-Version-Id", id)
					}
					w.Header().Set("ETag", `"1"`)
					http.ServeContent(w, r, "", when, bytes.NewReader(content))
				}})
				opened, err := Open(t.Context(), &Location{S3: location}, access)
				require.NoError(t, err)
				planned := layer.Entry{Path: "model.bin", Type: layer.File, Size: int64(len(content)), ModTime: when.UnixNano()}
				if identity != "" {
					planned.Identity = identityIn(location, identity)
				}
				head := make([]byte, 1)
				file, err := opened.FS(t.Context(), layer.Plan{Layers: [][]layer.Entry{{planned}}}).Open("model.bin")
				require.NoError(t, err)
				_, err = file.(io.ReaderAt).ReadAt(head, 0)
				require.NoError(t, err)

				got, err := read(t, opened, planned, partSize)
				if tt.want == "" {
					require.NoError(t, err)
					assert.True(t, bytes.Equal(content[partSize:], got))
					return
				}
				assertFailure(t, tt.want, false, `"model.bin" changed while it was packaged`, err)
			})
		}
	}
}

// A list may have fractions of a second, which headers do not have.
func TestS3FractionsOfASecond(t *testing.T) {
	b := &fakeBucket{}
	location, access := locationIn(t, b)
	opened, err := Open(t.Context(), &Location{S3: location}, access)
	require.NoError(t, err)
	when := time.Date(2026, 5, 4, 3, 2, 1, 999e6, time.UTC)
	_, err = read(t, opened, layer.Entry{Path: "model.bin", Type: layer.File, Size: 1, ModTime: when.UnixNano()}, 0)
	require.NoError(t, err)
	assert.Equal(t, "Mon, 04 May 2026 03:02:02 GMT", b.requests[0].Header.Get("If-Unmodified-Since"))
}

func TestS3FindsTheRegion(t *testing.T) {
	regional := func(b *fakeBucket) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/s3/") {
				refuse(400, "AuthorizationHeaderMalformed", "the region is wrong", "<Region>eu-west-1</Region>")(w, r)
				return
			}
			b.ServeHTTP(w, r)
		}
	}
	secret := map[string]string{"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}

	location, access := locationIn(t, regional(&fakeBucket{list: listed}))
	access.SecretDir = secretDir(t, secret)
	_, err := listS3(t, location, access)
	require.NoError(t, err)
	assert.Equal(t, "eu-west-1", location.Region, "later steps use it")

	location, access = locationIn(t, regional(&fakeBucket{list: listed}))
	access.SecretDir = secretDir(t, secret)
	location.Region = "us-west-2"
	_, err = listS3(t, location, access)
	assertFailure(t, v1alpha1.ReasonSourceMissing, false, "the bucket models is in the region eu-west-1: set storage.s3.region to it", err)
}

func TestS3EndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	location, access := locationIn(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	opened, err := Open(ctx, &Location{S3: location}, access)
	require.NoError(t, err)
	_, err = opened.List(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = opened.List(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// A redirect is not followed, neither to another host nor to the same one.
func TestS3DoesNotFollow(t *testing.T) {
	contacted := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { contacted = true }))
	t.Cleanup(other.Close)
	location, access := locationIn(t, http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	_, err := listS3(t, location, access)
	assertFailure(t, v1alpha1.ReasonSourceMissing, false, "at another endpoint", err)
	assert.False(t, contacted)
}

func TestS3Hosts(t *testing.T) {
	for name, tt := range map[string]struct {
		endpoint, to string
		want         bool
	}{
		"the endpoint":                       {"https://minio.example.com:9000", "https://minio.example.com:9000/models", true},
		"the bucket as a subdomain":          {"https://minio.example.com:9000", "https://models.minio.example.com:9000/", true},
		"another bucket":                     {"https://minio.example.com:9000", "https://other.minio.example.com:9000/", false},
		"another port":                       {"https://minio.example.com:9000", "https://minio.example.com/models", false},
		"plain HTTP":                         {"https://minio.example.com:9000", "http://minio.example.com:9000/models", false},
		"a region of Amazon":                 {"https://s3.amazonaws.com", "https://s3.eu-west-1.amazonaws.com/models", true},
		"a region, the bucket as a domain":   {"https://s3.amazonaws.com", "https://models.s3.dualstack.eu-west-1.amazonaws.com/", true},
		"a region of China":                  {"https://s3.cn-north-1.amazonaws.com.cn", "https://models.s3.cn-north-1.amazonaws.com.cn/", true},
		"FIPS":                               {"https://s3.amazonaws.com", "https://models.s3-fips.us-gov-west-1.amazonaws.com/", true},
		"another service of Amazon":          {"https://s3.amazonaws.com", "https://sts.eu-west-1.amazonaws.com/", false},
		"a load balancer at Amazon":          {"https://s3.amazonaws.com", "https://s3.elb.eu-west-1.amazonaws.com/", false},
		"a name that ends like Amazon's":     {"https://s3.amazonaws.com", "https://s3.example-amazonaws.com/", false},
		"a region of Amazon, another server": {"https://minio.example.com", "https://s3.eu-west-1.amazonaws.com/models", false},
		"an endpoint that looks similar":     {"https://s3-example-amazonaws.com", "https://s3.eu-west-1.amazonaws.com/models", false},
		"the metadata of the node":           {"https://s3.amazonaws.com", "http://169.254.169.254/", false},
	} {
		t.Run(name, func(t *testing.T) {
			endpoint, err := url.Parse(tt.endpoint)
			require.NoError(t, err)
			to, err := url.Parse(tt.to)
			require.NoError(t, err)
			assert.Equal(t, tt.want, s3Hosts(endpoint, "models")(to))
		})
	}
}

// amazonBucket serves a bucket at Amazon, to those who sign with the keys of an identity.
func amazonBucket(t *testing.T, isValid func(token string) bool) *fakeBucket {
	t.Helper()
	b := &fakeBucket{list: listed}
	hosts.Serve(t, "models.s3.us-east-1.amazonaws.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token := r.Header.Get("X-Amz-Security-Token"); !isValid(token) {
			refuse(400, "ExpiredToken", "The token "+token+" has expired.", "")(w, r)
			return
		}
		b.ServeHTTP(w, r)
	}))
	return b
}

// atAmazon is a location at Amazon. In these tests it is accessed over plain HTTP.
func atAmazon() (*S3, Access) {
	const endpoint = "http://s3.amazonaws.com"
	return &S3{Endpoint: endpoint, Bucket: "models", Prefix: "llama"}, Access{S3Rules: sourcepolicy.S3Rules{Allowed: []string{endpoint}}, delay: noDelay}
}

func TestS3Identity(t *testing.T) {
	for name, project := range map[string]func(*clouds.Amazon, *testing.T){
		"a role":       (*clouds.Amazon).ProjectRole,
		"pod identity": (*clouds.Amazon).ProjectPodIdentity,
	} {
		t.Run(name, func(t *testing.T) {
			amazon := clouds.StartAmazon(t)
			project(amazon, t)
			amazonBucket(t, amazon.Session.Valid)
			location, access := atAmazon()
			_, err := listS3(t, location, access)
			require.NoError(t, err)
			assert.Equal(t, 1, amazon.Session.Requests(), "the keys are remembered")
		})
	}
}

func TestS3IdentityExpires(t *testing.T) {
	amazon := clouds.StartAmazon(t)
	amazon.ProjectRole(t)
	amazonBucket(t, amazon.Session.Valid)
	location, access := atAmazon()
	opened, err := Open(t.Context(), &Location{S3: location}, access)
	require.NoError(t, err)
	_, err = opened.List(t.Context())
	require.NoError(t, err)

	amazon.Session.ExpireAll()
	_, err = opened.List(t.Context())
	require.NoError(t, err, "other keys are obtained")
	assert.Equal(t, 2, amazon.Session.Requests())

	amazonBucket(t, func(string) bool { return false })
	_, err = opened.List(t.Context())
	assertFailure(t, v1alpha1.ReasonSourceUnauthorized, true, "the credentials for Amazon S3 have expired", err)
	for _, issued := range amazon.Session.Issued() {
		assert.NotContains(t, err.Error(), issued)
	}
}

func TestS3IdentityRefused(t *testing.T) {
	amazon := clouds.StartAmazon(t)
	amazon.ProjectRole(t)
	amazon.Session.Refuse(clouds.AccessDenied)
	location, access := atAmazon()
	_, err := listS3(t, location, access)
	assertFailure(t, v1alpha1.ReasonSourceUnauthorized, false, "correct the role's trust policy, or create a Secret", err)
	assert.NotContains(t, err.Error(), clouds.ServiceAccountToken)
}

func TestS3WithoutCredentials(t *testing.T) {
	for name, tt := range map[string]struct {
		secret map[string]string
		says   string
	}{
		"no Secret":                {nil, "the service account modelkiln-build has no identity of AWS: kubectl annotate"},
		"a Secret of another kind": {map[string]string{"token": "x"}, "has no identity of AWS"},
	} {
		t.Run(name, func(t *testing.T) {
			clouds.NoIdentity(t)
			b := amazonBucket(t, func(token string) bool { return token == "" })
			location, access := atAmazon()
			access.SecretDir = secretDir(t, tt.secret)
			_, err := listS3(t, location, access)
			require.NoError(t, err, "the bucket is public")
			assert.True(t, slices.ContainsFunc(b.requests, func(r *http.Request) bool { return r.Header.Get("Authorization") == "" }))

			hosts.Serve(t, "models.s3.us-east-1.amazonaws.com", refuse(403, "AccessDenied", "Access Denied", ""))
			_, err = listS3(t, location, access)
			assertFailure(t, v1alpha1.ReasonSourceUnauthorized, false, tt.says, err)
		})
	}
}

// The keys of an identity are not sent to object stores that are not Amazon's.
func TestS3IdentityIsForAmazon(t *testing.T) {
	b := &fakeBucket{list: listed}
	location, access := locationIn(t, b)
	amazon := clouds.StartAmazon(t)
	amazon.ProjectRole(t)
	_, err := listS3(t, location, access)
	require.NoError(t, err)
	assert.Zero(t, amazon.Session.Requests())
	for _, r := range b.requests {
		assert.Empty(t, r.Header.Get("Authorization"))
	}
}

func TestS3Secret(t *testing.T) {
	b := &fakeBucket{list: listed}
	location, access := locationIn(t, b)
	access.SecretDir = secretDir(t, map[string]string{"AWS_ACCESS_KEY_ID": "AKIA\n", "AWS_SECRET_ACCESS_KEY": "x\n", "AWS_SESSION_TOKEN": "session\n"})
	_, err := listS3(t, location, access)
	require.NoError(t, err)
	assert.Contains(t, b.requests[0].Header.Get("Authorization"), "Credential=AKIA/")
	assert.Equal(t, "session", b.requests[0].Header.Get("X-Amz-Security-Token"))

	for _, half := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		access.SecretDir = secretDir(t, map[string]string{half: "x"})
		_, err = Open(t.Context(), &Location{S3: location}, access)
		assertFailure(t, v1alpha1.ReasonSourceUnauthorized, false, "has only one of the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: create it with kubectl create secret generic", err)
	}
	access.SecretDir = t.TempDir()
	require.NoError(t, os.Mkdir(access.SecretDir+"/AWS_ACCESS_KEY_ID", 0o700))
	_, err = Open(t.Context(), &Location{S3: location}, access)
	assertFailure(t, v1alpha1.ReasonSourceUnauthorized, false, "cannot read the key AWS_ACCESS_KEY_ID of the Secret", err)
}

// The keys in a Secret expire, and a user replaces it: kubelet updates its files.
func TestS3SecretIsReplaced(t *testing.T) {
	b := &fakeBucket{list: listed}
	valid := "first"
	location, access := locationIn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if session := r.Header.Get("X-Amz-Security-Token"); session != valid {
			refuse(400, "ExpiredToken", "The token "+session+" has expired.", "")(w, r)
			return
		}
		b.ServeHTTP(w, r)
	}))
	keys := map[string]string{"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_SESSION_TOKEN": "first"}
	access.SecretDir = secretDir(t, keys)
	opened, err := Open(t.Context(), &Location{S3: location}, access)
	require.NoError(t, err)
	_, err = opened.List(t.Context())
	require.NoError(t, err)

	valid = "second"
	_, err = opened.List(t.Context())
	assertFailure(t, v1alpha1.ReasonSourceUnauthorized, false, "have expired (ExpiredToken: The token *** has expired); credentials: those in the Secret", err)

	require.NoError(t, os.WriteFile(access.SecretDir+"/AWS_SESSION_TOKEN", []byte("second"), 0o600))
	_, err = opened.List(t.Context())
	require.NoError(t, err)

	valid = "third"
	_, err = opened.List(t.Context())
	assertFailure(t, v1alpha1.ReasonSourceUnauthorized, false, "The token *** has expired", err)
}

// The parts of a file are requested over few connections.
func TestS3UsesConnectionsAgain(t *testing.T) {
	content := random(20 * partSize)
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC), bytes.NewReader(content))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	access := Access{S3Rules: sourcepolicy.S3Rules{Allowed: []string{server.URL}}}
	location := &S3{Endpoint: server.URL, Bucket: "models", Prefix: "llama"}
	opened, err := Open(t.Context(), &Location{S3: location}, access)
	require.NoError(t, err)
	got, err := read(t, opened, layer.Entry{Path: "model.bin", Type: layer.File, Size: int64(len(content)), Identity: identityIn(location, "1")}, 0)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, got))
	// One may be opened while another becomes free.
	assert.LessOrEqual(t, connections.Load(), int32(2*parallel))
}
