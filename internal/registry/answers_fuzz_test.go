package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	fuzzedSecret   = "s3cret-7f3a"
	fuzzedRequests = 2000
)

// fakeAnswers is a registry that sends these answers, and the last one to all further
// requests.
type fakeAnswers struct {
	answers []http.Response
	body    string
	count   int
}

func (f *fakeAnswers) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body != nil {
		_, _ = io.Copy(io.Discard, request.Body)
		_ = request.Body.Close()
	}
	answer := f.answers[min(f.count, len(f.answers)-1)]
	f.count++
	answer.Request, answer.ProtoMajor, answer.ProtoMinor = request, 1, 1
	answer.Header = answer.Header.Clone()
	answer.Body, answer.ContentLength = io.NopCloser(strings.NewReader(f.body)), int64(len(f.body))
	return &answer, nil
}

// fuzzedBlob is a blob whose size is known or not.
type fuzzedBlob struct{ size int64 }

func (b fuzzedBlob) Size() int64 { return b.size }

func (b fuzzedBlob) Open(_ context.Context, offset int64) io.ReadCloser {
	content := bytes.Repeat([]byte("a"), 10)
	return io.NopCloser(bytes.NewReader(content[min(offset, 10):]))
}

// Whatever a registry answers, an upload ends, and its error is short, of one line
// and without secrets.
func FuzzAnswers(f *testing.F) {
	const bearer = `Bearer realm="https://auth.example.com/token",service="registry"`
	for _, location := range []string{"/v2/models/resnet/blobs/uploads/1", "https://storage.example.com/a", ":", "%zz", "//[::1", ""} {
		f.Add(uint16(202), uint16(202), uint16(201), location, "0-4", bearer, "{}")
		f.Add(uint16(202), uint16(202), uint16(202), location, "0-0", bearer, "")
		f.Add(uint16(202), uint16(503), uint16(204), location, "0-9223372036854775807", bearer, `{"token":"a"}`)
	}
	f.Add(uint16(401), uint16(200), uint16(200), "", "", bearer, `{"token":"a","expires_in":-1}`)
	f.Add(uint16(401), uint16(401), uint16(401), "", "", "Basic realm=\"a\x1b[2J\"", `{"errors":[{"code":"DENIED","message":"\u001b[2J"}]}`)
	f.Add(uint16(401), uint16(307), uint16(308), "http://169.254.169.254/", "", `Bearer realm="http://169.254.169.254/"`, "")
	f.Add(uint16(413), uint16(202), uint16(416), "/a", "0--1", "Bearer", strings.Repeat("a", 5000))
	f.Add(uint16(202), uint16(429), uint16(202), "/a", "9999999999", "9223372036854775807", "")

	f.Fuzz(func(t *testing.T, first, second, third uint16, location, offset, challenge, body string) {
		if strings.Contains(location+offset+challenge+body, fuzzedSecret) {
			return
		}
		repository, err := name.NewRepository("registry.example.com/models/resnet")
		require.NoError(t, err)
		r := &Repository{name: repository, account: "Secret regcred"}
		server := func() *fakeAnswers {
			return &fakeAnswers{answers: answers(location, offset, challenge, first, second, third), body: body}
		}

		credentials := &authn.Basic{Username: "robot", Password: fuzzedSecret}
		_, err = transport.NewWithContext(t.Context(), repository.Registry, credentials, httpsOnly{server()}, []string{repository.Scope(transport.PushScope)})
		if err != nil {
			assertReadable(t, r.explainLogin(err))
		}
		for _, size := range []int64{10, -1} {
			registry := server()
			r.puller, err = remote.NewPuller(remote.WithTransport(httpsOnly{registry}), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			uploader := &Uploader{repository: r, client: &http.Client{Transport: httpsOnly{registry}}, limits: requestLimits{bytes: 4 << 20}, Wait: func(ctx context.Context, delay time.Duration) error {
				assert.GreaterOrEqual(t, delay, time.Duration(0))
				return ctx.Err()
			}}
			_, err = uploader.Upload(ctx, fuzzedBlob{size}, func(offset int64) { assert.GreaterOrEqual(t, offset, int64(0)) })
			cancel()
			assert.Less(t, registry.count, fuzzedRequests, "an upload ends")
			assertReadable(t, err)
		}
	})
}

// answers returns answers with these headers, and with a signature in the query of
// the location.
func answers(location, offset, challenge string, codes ...uint16) []http.Response {
	header := http.Header{"Range": {offset}, "Retry-After": {offset}, "Oci-Chunk-Min-Length": {offset}, "Www-Authenticate": {challenge}}
	if location != "" {
		header.Set("Location", location+"?signature="+fuzzedSecret)
	}
	var list []http.Response
	for _, code := range codes {
		list = append(list, http.Response{StatusCode: max(200, int(code)%600), Header: header})
	}
	return list
}

// assertReadable asserts that an error can be shown to users.
func assertReadable(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	assert.NotContains(t, err.Error(), fuzzedSecret)
	var e *Error
	if !errors.As(err, &e) {
		return
	}
	assert.NotContains(t, e.Cause.Error(), fuzzedSecret)
	assert.LessOrEqual(t, utf8.RuneCountInString(e.Message), 2000)
	assert.Equal(t, -1, strings.IndexFunc(e.Message, func(r rune) bool { return !unicode.IsGraphic(r) || r == utf8.RuneError }), "%q", e.Message)
}
