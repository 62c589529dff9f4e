package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// uploadRegistry is a fake of the part of a registry that accepts blobs, according
// to the distribution specification, with faults.
type uploadRegistry struct {
	mu       sync.Mutex
	sessions map[string]*bytes.Buffer
	blobs    map[string][]byte
	// mountable are the blobs of the repository models/previous.
	mountable map[string][]byte
	// fault may handle a request instead of the registry; it reports whether it
	// did.
	fault    func(w http.ResponseWriter, r *http.Request) bool
	requests []string
}

func (u *uploadRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = append(u.requests, strings.TrimSpace(r.Method+" "+r.Header.Get("Content-Range")))
	if r.URL.Path == "/v2/" {
		return
	}
	if u.fault != nil && u.fault(w, r) {
		return
	}
	if digest, isBlob := strings.CutPrefix(r.URL.Path, "/v2/models/resnet/blobs/sha256"); isBlob {
		u.serveBlob(w, "sha256"+digest)
		return
	}
	u.serveUpload(w, r, strings.TrimPrefix(r.URL.Path, "/v2/models/resnet/blobs/uploads/"))
}

func (u *uploadRegistry) serveBlob(w http.ResponseWriter, digest string) {
	blob, exists := u.blobs[digest]
	if !exists {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
}

func (u *uploadRegistry) serveUpload(w http.ResponseWriter, r *http.Request, id string) {
	mount := r.URL.Query().Get("mount")
	if _, exists := u.mountable[mount]; exists && r.URL.Query().Get("from") == "models/previous" {
		u.blobs[mount] = u.mountable[mount]
		w.WriteHeader(http.StatusCreated)
		return
	}
	if r.Method == http.MethodDelete {
		delete(u.sessions, id)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Method == http.MethodPost {
		id = fmt.Sprint(len(u.sessions) + 1)
		u.sessions[id] = &bytes.Buffer{}
		u.respond(w, id, http.StatusAccepted)
		return
	}
	upload, exists := u.sessions[id]
	if !exists {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	switch r.Method {
	case http.MethodGet:
		u.respond(w, id, http.StatusNoContent)
	case http.MethodPatch:
		u.append(w, r, id, upload)
	case http.MethodPut:
		if digest := r.URL.Query().Get("digest"); digest != digestOf(upload.Bytes()) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		u.blobs[r.URL.Query().Get("digest")] = upload.Bytes()
		w.WriteHeader(http.StatusCreated)
	}
}

func (u *uploadRegistry) append(w http.ResponseWriter, r *http.Request, id string, upload *bytes.Buffer) {
	if from, _, ranged := strings.Cut(r.Header.Get("Content-Range"), "-"); ranged && from != fmt.Sprint(upload.Len()) {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	if _, err := io.Copy(upload, r.Body); err != nil {
		return
	}
	u.respond(w, id, http.StatusAccepted)
}

func (u *uploadRegistry) respond(w http.ResponseWriter, id string, status int) {
	w.Header().Set("Location", "/v2/models/resnet/blobs/uploads/"+id+"?state=x")
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, u.sessions[id].Len()-1)))
	w.WriteHeader(status)
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// memoryBlob is a blob in memory.
type memoryBlob []byte

func (b memoryBlob) Size() int64 { return int64(len(b)) }

func (b memoryBlob) Open(_ context.Context, offset int64) io.ReadCloser {
	return io.NopCloser(bytes.NewReader(b[offset:]))
}

// newTestUploader starts a fake registry and returns an uploader for it that does
// not wait.
func newTestUploader(t *testing.T, registry *uploadRegistry) (up *Uploader, waited *[]time.Duration) {
	t.Helper()
	registry.sessions, registry.blobs = map[string]*bytes.Buffer{}, map[string][]byte{}
	server := httptest.NewServer(registry)
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	config := Config{PlainHTTP: []string{host}}
	repository, err := name.NewRepository(host+"/models/resnet", name.Insecure)
	require.NoError(t, err)
	opened, err := config.Open(t.Context(), repository, Push)
	require.NoError(t, err)
	up, err = config.NewUploader(t.Context(), opened)
	require.NoError(t, err)
	waited = &[]time.Duration{}
	up.Wait = func(ctx context.Context, delay time.Duration) error {
		*waited = append(*waited, delay)
		return ctx.Err()
	}
	return up, waited
}

const mebibyte = 1 << 20

func content(size int) memoryBlob {
	blob := make(memoryBlob, size)
	for i := range blob {
		blob[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return blob
}

func status(code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(code) }
}

// located responds with the location of an upload session.
func located(location string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusAccepted)
	}
}

func redirected(location string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// disconnect closes the connection.
func disconnect(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// times returns a fault for the first requests with a method, after the given number
// of bytes of their bodies. A negative count means every request.
func times(count int, method string, after int64, inject func(http.ResponseWriter)) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || count == 0 {
			return false
		}
		count--
		_, _ = io.CopyN(io.Discard, r.Body, after)
		inject(w)
		return true
	}
}

// uploadFault returns a fault of a registry for uploads.
type uploadFault func(u *uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool

func always(fault func(w http.ResponseWriter, r *http.Request) bool) uploadFault {
	return func(*uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool { return fault }
}

// limited rejects requests with more bytes, as registries and proxies do.
func limited(limit int64, code int) uploadFault {
	return always(func(w http.ResponseWriter, r *http.Request) bool {
		if r.ContentLength <= limit {
			return false
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNKNOWN","message":"the request body is too large and exceeds the maximum permissible limit of 2.00MiB"}]}`)
		return true
	})
}

// forgetful loses the session during a request.
func forgetful(u *uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool {
	return times(1, http.MethodPatch, 3*mebibyte, func(w http.ResponseWriter) {
		clear(u.sessions)
		disconnect(w)
	})
}

// lostResponse has the blob, and closes the connection instead of responding.
func lostResponse(u *uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool {
	lost := false
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || lost {
			return false
		}
		lost = true
		u.blobs[r.URL.Query().Get("digest")] = content(10 * mebibyte)
		clear(u.sessions)
		panic(http.ErrAbortHandler)
	}
}

// keepsPart closes the connection during the first request, and keeps what arrived.
func keepsPart(u *uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool {
	cut := false
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || cut {
			return false
		}
		cut = true
		_, _ = io.CopyN(u.sessions["1"], r.Body, 3*mebibyte)
		panic(http.ErrAbortHandler)
	}
}

// wholeOnly keeps part of the first request, too, but rejects each request that is not
// the first of its session.
func wholeOnly(code int) uploadFault {
	return func(u *uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool {
		cut := keepsPart(u)
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPatch && r.Header.Get("Content-Range") != "" {
				w.WriteHeader(code)
				return true
			}
			return cut(w, r)
		}
	}
}

// exaggerating reports an offset that is beyond what was sent.
func exaggerating(u *uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool {
	cut := times(1, http.MethodPatch, mebibyte, disconnect)
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			u.sessions["1"].Write(content(9 * mebibyte))
		}
		return cut(w, r)
	}
}

// slowBehindGateway has the blob a while after a gateway has given up.
func slowBehindGateway(u *uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool {
	asked := -1
	return func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodPut:
			asked = 0
			delete(u.sessions, "1")
			w.WriteHeader(http.StatusGatewayTimeout)
			return true
		case r.Method == http.MethodHead && asked >= 0:
			if asked++; asked == 15 {
				u.blobs[digestOf(content(10*mebibyte))] = content(10 * mebibyte)
			}
		}
		return false
	}
}

func TestUploaderUploadRecovers(t *testing.T) {
	tests := map[string]struct {
		fault    uploadFault
		requests int64
		waited   int
		// patches is the number of requests with content.
		patches int
	}{
		"no fault":                     {fault: always(nil), patches: 1},
		"several requests":             {fault: always(nil), requests: 4 * mebibyte, patches: 3},
		"a lost connection":            {fault: always(times(1, http.MethodPatch, 5*mebibyte, disconnect)), waited: 1, patches: 2},
		"a part that was kept":         {fault: keepsPart, waited: 1, patches: 2},
		"an internal server error":     {fault: always(times(2, http.MethodPatch, 0, status(http.StatusInternalServerError))), waited: 2, patches: 5},
		"a rate limit":                 {fault: always(times(3, http.MethodPatch, 0, status(http.StatusTooManyRequests))), waited: 3, patches: 4},
		"no session at first":          {fault: always(times(2, http.MethodPost, 0, status(http.StatusServiceUnavailable))), waited: 2, patches: 1},
		"an expired login":             {fault: always(times(1, http.MethodPatch, 0, status(http.StatusUnauthorized))), waited: 1, patches: 2},
		"a request size limit":         {fault: limited(2*mebibyte, http.StatusRequestEntityTooLarge), patches: 3 + 5},
		"a size limit as 416":          {fault: limited(2*mebibyte, http.StatusRequestedRangeNotSatisfiable), patches: 3 + 5},
		"a size limit in words":        {fault: limited(2*mebibyte, http.StatusBadRequest), patches: 3 + 5},
		"one request only, 400":        {fault: wholeOnly(http.StatusBadRequest), waited: 1, patches: 3},
		"one request only, 404":        {fault: wholeOnly(http.StatusNotFound), waited: 1, patches: 3},
		"one request only, 405":        {fault: wholeOnly(http.StatusMethodNotAllowed), waited: 1, patches: 3},
		"one request only, 416":        {fault: wholeOnly(http.StatusRequestedRangeNotSatisfiable), waited: 1, patches: 3},
		"a lost session":               {fault: forgetful, waited: 1, patches: 2},
		"a lost connection at the end": {fault: always(times(1, http.MethodPut, 0, disconnect)), waited: 1, patches: 1},
		"a lost response at the end":   {fault: lostResponse, patches: 1},
		"a response before the whole request is read": {fault: always(times(1, http.MethodPatch, 0, func(w http.ResponseWriter) {
			w.Header().Set("Location", "/v2/models/resnet/blobs/uploads/1")
			w.WriteHeader(http.StatusAccepted)
		})), waited: 1, patches: 2},
		"an unknown offset at first": {fault: always(both(times(1, http.MethodPatch, 0, disconnect), times(1, http.MethodGet, 0, status(http.StatusBadGateway)))), waited: 2, patches: 2},
		"more than was sent":         {fault: exaggerating, waited: 1, patches: 2},
		"other content": {fault: always(times(1, http.MethodPut, 0, func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errors":[{"code":"DIGEST_INVALID"}]}`)
		})), waited: 1, patches: 2},
		"a gateway that does not wait for the registry": {fault: slowBehindGateway, waited: 14, patches: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			registry := &uploadRegistry{}
			up, waited := newTestUploader(t, registry)
			registry.fault = tt.fault(registry)
			up.limits.bytes = tt.requests
			want := content(10 * mebibyte)
			var sent int64

			digest, err := up.Upload(t.Context(), want, func(bytes int64) { sent = bytes })

			require.NoError(t, err)
			assert.Equal(t, digestOf(want), digest.String())
			assert.True(t, bytes.Equal(want, registry.blobs[digest.String()]))
			assert.Equal(t, want.Size(), sent)
			assert.Len(t, *waited, tt.waited)
			patches := 0
			for _, request := range registry.requests {
				if strings.HasPrefix(request, http.MethodPatch) {
					patches++
				}
			}
			assert.Equal(t, tt.patches, patches, registry.requests)
		})
	}
}

// both combines two faults.
func both(one, other func(w http.ResponseWriter, r *http.Request) bool) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool { return one(w, r) || other(w, r) }
}

func TestUploaderUploadErrors(t *testing.T) {
	forever := func(code int) func(w http.ResponseWriter, r *http.Request) bool {
		return times(-1, http.MethodPatch, 0, status(code))
	}
	tests := map[string]struct {
		fault   func(w http.ResponseWriter, r *http.Request) bool
		kind    Kind
		message string
		waited  int
	}{
		"missing permission":               {fault: forever(http.StatusForbidden), kind: Unauthorized, message: "403"},
		"storage quota":                    {fault: forever(http.StatusInsufficientStorage), kind: QuotaExceeded, message: "507"},
		"a limit below the smallest chunk": {fault: forever(http.StatusRequestEntityTooLarge), kind: QuotaExceeded, message: "413"},
		"a permanent server error":         {fault: forever(http.StatusBadGateway), kind: Unreachable, message: "502", waited: 8},
		"a connection that is always lost": {fault: times(-1, http.MethodPatch, 0, disconnect), kind: Unreachable, message: "connection failed: ", waited: 8},
		"no Location":                      {fault: times(-1, http.MethodPost, 0, status(http.StatusAccepted)), kind: Unreachable, message: "without saying where to send it (the header Location)", waited: 8},
		"a Location that is no URL":        {fault: times(-1, http.MethodPost, 0, located("https://ann:secret@%zz")), kind: Unreachable, message: "connection failed: ", waited: 8},
		"a Location with another scheme":   {fault: times(-1, http.MethodPost, 0, located("file:///etc/passwd")), kind: Unreachable, message: "unsupported protocol scheme", waited: 8},
		"a Location at port 0":             {fault: times(-1, http.MethodPost, 0, located("http://127.0.0.1:0/a")), kind: Unreachable, message: "127.0.0.1:0", waited: 8},
		"a redirect of content":            {fault: times(-1, http.MethodPatch, 0, redirected("https://storage.example.com/a?signature=secret")), kind: Unreachable, message: "307 Temporary Redirect"},
		"no session":                       {fault: times(-1, http.MethodPost, 0, status(http.StatusUnauthorized)), kind: Unauthorized, message: "401"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			up, waited := newTestUploader(t, &uploadRegistry{fault: tt.fault})

			_, err := up.Upload(t.Context(), content(10*mebibyte), func(int64) {})

			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, tt.kind, e.Kind)
			assert.Contains(t, e.Message, tt.message)
			assert.NotContains(t, e.Message, "secret")
			assert.Len(t, *waited, tt.waited)
		})
	}
}

func TestUploaderUploadBackoff(t *testing.T) {
	throttled := func(after string) func(w http.ResponseWriter, r *http.Request) bool {
		return times(-1, http.MethodPatch, 0, func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
		})
	}
	doubling := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second}
	constant := func(delay time.Duration) (all []time.Duration) {
		for range maxFailures {
			all = append(all, delay)
		}
		return all
	}
	tests := map[string]struct {
		after string
		want  []time.Duration
	}{
		"no Retry-After":        {"", doubling},
		"seconds":               {"7", constant(7 * time.Second)},
		"more than the maximum": {"86400", constant(5 * time.Minute)},
		"a date in the past":    {"Mon, 02 Jan 2006 15:04:05 GMT", doubling},
		"an invalid value":      {"a while", doubling},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			up, waited := newTestUploader(t, &uploadRegistry{fault: throttled(tt.after)})
			_, err := up.Upload(t.Context(), content(10), func(int64) {})
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.True(t, e.Transient)
			assert.Equal(t, tt.want, *waited)
		})
	}
}

func TestUploaderUploadResumesWhileThereIsProgress(t *testing.T) {
	registry := &uploadRegistry{}
	up, waited := newTestUploader(t, registry)
	const perRequest = 256 << 10
	registry.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || r.ContentLength <= perRequest {
			return false
		}
		for _, upload := range registry.sessions {
			_, _ = io.CopyN(upload, r.Body, perRequest)
		}
		panic(http.ErrAbortHandler)
	}
	want := content(8 * mebibyte)

	digest, err := up.Upload(t.Context(), want, func(int64) {})

	require.NoError(t, err)
	assert.Equal(t, digestOf(want), digest.String())
	assert.Greater(t, len(*waited), maxFailures)
}

// brokenBlob is a blob with a read error at an offset.
type brokenBlob struct {
	memoryBlob
	offset int64
	err    error
}

func (b brokenBlob) Open(_ context.Context, offset int64) io.ReadCloser {
	return io.NopCloser(io.MultiReader(bytes.NewReader(b.memoryBlob[offset:b.offset]), iotest.ErrReader(b.err)))
}

// unsizedBlob is a blob of unknown size.
type unsizedBlob struct{ memoryBlob }

func (unsizedBlob) Size() int64 { return -1 }

func TestUploaderUploadOfUnknownSize(t *testing.T) {
	for name, tt := range map[string]struct {
		size  int
		fault func(w http.ResponseWriter, r *http.Request) bool
	}{
		"several chunks":               {size: 10 * mebibyte},
		"a multiple of the chunk size": {size: 8 * mebibyte},
		"empty":                        {},
		"a lost connection":            {size: 10 * mebibyte, fault: times(2, http.MethodPatch, mebibyte, disconnect)},
		"a lost connection at the end": {size: 10 * mebibyte, fault: times(1, http.MethodPut, 0, disconnect)},
		"a server error":               {size: 10 * mebibyte, fault: times(1, http.MethodPatch, 0, status(http.StatusBadGateway))},
	} {
		t.Run(name, func(t *testing.T) {
			registry := &uploadRegistry{fault: tt.fault}
			up, _ := newTestUploader(t, registry)
			up.limits.bytes = 4 * mebibyte
			want := content(tt.size)

			digest, err := up.Upload(t.Context(), unsizedBlob{want}, func(int64) {})

			require.NoError(t, err)
			assert.Equal(t, digestOf(want), digest.String())
			assert.True(t, bytes.Equal(want, registry.blobs[digest.String()]))
		})
	}
}

func TestUploaderUploadReturnsReadErrors(t *testing.T) {
	registry := &uploadRegistry{}
	up, waited := newTestUploader(t, registry)
	want := errors.New("the file changed")

	_, err := up.Upload(t.Context(), brokenBlob{content(4 * mebibyte), 3 * mebibyte, want}, func(int64) {})

	assert.Equal(t, want, err)
	assert.Empty(t, *waited)
	assert.Empty(t, registry.blobs)
}

func TestUploaderMount(t *testing.T) {
	blob := content(100)
	digest, err := v1.NewHash(digestOf(blob))
	require.NoError(t, err)
	tests := map[string]struct {
		from   string
		exists bool
		want   bool
	}{
		"a repository with the blob":       {from: "HOST/models/previous", exists: true, want: true},
		"a repository without the blob":    {from: "HOST/models/previous"},
		"a repository of another registry": {from: "registry.example.com/models/previous", exists: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			registry := &uploadRegistry{mountable: map[string][]byte{}}
			up, _ := newTestUploader(t, registry)
			if tt.exists {
				registry.mountable[digest.String()] = blob
			}
			from, err := nameOf(strings.Replace(tt.from, "HOST", up.repository.name.RegistryStr(), 1))
			require.NoError(t, err)

			assert.Equal(t, tt.want, up.Mount(t.Context(), digest, from))

			assert.Equal(t, tt.want, registry.blobs[digest.String()] != nil)
			assert.Empty(t, registry.sessions, "no session is left")
		})
	}
}

func nameOf(repository string) (name.Repository, error) {
	return name.NewRepository(repository, name.Insecure)
}

func TestUploaderUploadEndsWithContext(t *testing.T) {
	registry := &uploadRegistry{}
	up, waited := newTestUploader(t, registry)
	ctx, cancel := context.WithCancel(t.Context())
	registry.fault = times(1, http.MethodPatch, mebibyte, func(http.ResponseWriter) { cancel() })

	_, err := up.Upload(ctx, content(4*mebibyte), func(int64) {})

	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, *waited)
}

func BenchmarkUpload(b *testing.B) {
	registry := &uploadRegistry{sessions: map[string]*bytes.Buffer{}, blobs: map[string][]byte{}}
	server := httptest.NewServer(registry)
	b.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	config := Config{PlainHTTP: []string{host}}
	repository, err := name.NewRepository(host+"/models/resnet", name.Insecure)
	require.NoError(b, err)
	opened, err := config.Open(b.Context(), repository, Push)
	require.NoError(b, err)
	up, err := config.NewUploader(b.Context(), opened)
	require.NoError(b, err)
	blob := content(64 * mebibyte)
	b.SetBytes(blob.Size())
	b.ReportAllocs()
	for b.Loop() {
		_, err := up.Upload(b.Context(), blob, func(int64) {})
		require.NoError(b, err)
	}
}
