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

// uploadRegistry is a fake: the part of a registry that takes blobs, as the
// distribution specification has it, with faults.
type uploadRegistry struct {
	mu      sync.Mutex
	uploads map[string]*bytes.Buffer
	blobs   map[string][]byte
	// elsewhere are the blobs of the repository models/earlier.
	elsewhere map[string][]byte
	// fault may answer a request in the registry's place; it says whether it
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
	blob, there := u.blobs[digest]
	if !there {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
}

func (u *uploadRegistry) serveUpload(w http.ResponseWriter, r *http.Request, id string) {
	mount := r.URL.Query().Get("mount")
	if _, there := u.elsewhere[mount]; there && r.URL.Query().Get("from") == "models/earlier" {
		u.blobs[mount] = u.elsewhere[mount]
		w.WriteHeader(http.StatusCreated)
		return
	}
	if r.Method == http.MethodDelete {
		delete(u.uploads, id)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Method == http.MethodPost {
		id = fmt.Sprint(len(u.uploads) + 1)
		u.uploads[id] = &bytes.Buffer{}
		u.answer(w, id, http.StatusAccepted)
		return
	}
	upload, there := u.uploads[id]
	if !there {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	switch r.Method {
	case http.MethodGet:
		u.answer(w, id, http.StatusNoContent)
	case http.MethodPatch:
		u.take(w, r, id, upload)
	case http.MethodPut:
		if digest := r.URL.Query().Get("digest"); digest != digestOf(upload.Bytes()) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		u.blobs[r.URL.Query().Get("digest")] = upload.Bytes()
		w.WriteHeader(http.StatusCreated)
	}
}

func (u *uploadRegistry) take(w http.ResponseWriter, r *http.Request, id string, upload *bytes.Buffer) {
	if from, _, ranged := strings.Cut(r.Header.Get("Content-Range"), "-"); ranged && from != fmt.Sprint(upload.Len()) {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	if _, err := io.Copy(upload, r.Body); err != nil {
		return
	}
	u.answer(w, id, http.StatusAccepted)
}

func (u *uploadRegistry) answer(w http.ResponseWriter, id string, status int) {
	w.Header().Set("Location", "/v2/models/resnet/blobs/uploads/"+id+"?state=x")
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, u.uploads[id].Len()-1)))
	w.WriteHeader(status)
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// memoryBlob is a blob that is held in memory.
type memoryBlob []byte

func (b memoryBlob) Size() int64 { return int64(len(b)) }

func (b memoryBlob) Open(_ context.Context, offset int64) io.ReadCloser {
	return io.NopCloser(bytes.NewReader(b[offset:]))
}

// uploading starts a fake registry, and an uploader that does not wait.
func uploading(t *testing.T, registry *uploadRegistry) (up *Uploader, waited *[]time.Duration) {
	t.Helper()
	registry.uploads, registry.blobs = map[string]*bytes.Buffer{}, map[string][]byte{}
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
	up.Wait = func(ctx context.Context, long time.Duration) error {
		*waited = append(*waited, long)
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

// cut ends the connection.
func cut(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// times has something happen to the first requests of a kind, after so many
// bytes of their bodies.
func times(count int, method string, after int64, happens func(http.ResponseWriter)) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || count == 0 {
			return false
		}
		count--
		_, _ = io.CopyN(io.Discard, r.Body, after)
		happens(w)
		return true
	}
}

func TestAnUploadEndsWellWhateverHappensOnTheWay(t *testing.T) {
	limited := func(limit int64) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.ContentLength <= limit {
				return false
			}
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return true
		}
	}
	forgetful := func(u *uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool {
		return times(1, http.MethodPatch, 3*mebibyte, func(w http.ResponseWriter) {
			clear(u.uploads)
			cut(w)
		})
	}
	lostAnswer := func(u *uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool {
		lost := false
		return func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || lost {
				return false
			}
			lost = true
			u.blobs[r.URL.Query().Get("digest")] = content(10 * mebibyte)
			clear(u.uploads)
			panic(http.ErrAbortHandler)
		}
	}
	always := func(fault func(w http.ResponseWriter, r *http.Request) bool) func(*uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool {
		return func(*uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool { return fault }
	}
	tests := map[string]struct {
		fault  func(u *uploadRegistry) func(w http.ResponseWriter, r *http.Request) bool
		chunk  int64
		waited int
		// patches are how many requests carry content.
		patches int
	}{
		"nothing happens":                       {fault: always(nil), patches: 1},
		"it is sent in chunks":                  {fault: always(nil), chunk: 4 * mebibyte, patches: 3},
		"the connection is cut":                 {fault: always(times(1, http.MethodPatch, 5*mebibyte, cut)), waited: 1, patches: 3},
		"the registry has an error":             {fault: always(times(2, http.MethodPatch, 0, status(http.StatusInternalServerError))), waited: 2, patches: 6},
		"the registry is busy":                  {fault: always(times(3, http.MethodPatch, 0, status(http.StatusTooManyRequests))), waited: 3, patches: 4},
		"the registry takes no upload at first": {fault: always(times(2, http.MethodPost, 0, status(http.StatusServiceUnavailable))), waited: 2, patches: 1},
		"the login runs out":                    {fault: always(times(1, http.MethodPatch, 0, status(http.StatusUnauthorized))), waited: 1, patches: 3},
		"a proxy sets a limit":                  {fault: always(limited(2 * mebibyte)), patches: 3 + 8},
		"the registry forgets the upload":       {fault: forgetful, waited: 1, patches: 3},
		"the end of the upload is cut":          {fault: always(times(1, http.MethodPut, 0, cut)), waited: 1, patches: 1},
		"the answer to the end is lost":         {fault: lostAnswer, patches: 1},
		"the registry answers before it has all": {fault: always(times(1, http.MethodPatch, 0, func(w http.ResponseWriter) {
			w.Header().Set("Location", "/v2/models/resnet/blobs/uploads/1")
			w.WriteHeader(http.StatusAccepted)
		})), waited: 1, patches: 3},
		"how far it is cannot be asked at first": {fault: always(both(times(1, http.MethodPatch, 0, cut), times(1, http.MethodGet, 0, status(http.StatusBadGateway)))), waited: 2, patches: 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			registry := &uploadRegistry{}
			up, waited := uploading(t, registry)
			registry.fault = tt.fault(registry)
			if tt.chunk > 0 {
				up.Chunk = tt.chunk
			}
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

// both tries two faults.
func both(one, other func(w http.ResponseWriter, r *http.Request) bool) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool { return one(w, r) || other(w, r) }
}

func TestAnUploadThatCannotEndWellSaysWhy(t *testing.T) {
	forever := func(code int) func(w http.ResponseWriter, r *http.Request) bool {
		return times(-1, http.MethodPatch, 0, status(code))
	}
	tests := map[string]struct {
		fault  func(w http.ResponseWriter, r *http.Request) bool
		kind   Kind
		says   string
		waited int
	}{
		"the registry forbids it":         {fault: forever(http.StatusForbidden), kind: Unauthorized, says: "403"},
		"the registry is full":            {fault: forever(http.StatusInsufficientStorage), kind: Full, says: "507"},
		"no request is small enough":      {fault: forever(http.StatusRequestEntityTooLarge), kind: Full, says: "413"},
		"the registry does not recover":   {fault: forever(http.StatusBadGateway), kind: Unreachable, says: "502", waited: 8},
		"the connection is cut each time": {fault: times(-1, http.MethodPatch, 0, cut), kind: Unreachable, says: "cannot be talked to", waited: 8},
		"no upload may begin":             {fault: times(-1, http.MethodPost, 0, status(http.StatusUnauthorized)), kind: Unauthorized, says: "401"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			up, waited := uploading(t, &uploadRegistry{fault: tt.fault})

			_, err := up.Upload(t.Context(), content(10*mebibyte), func(int64) {})

			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, tt.kind, e.Kind)
			assert.Contains(t, e.Sentence, tt.says)
			assert.Len(t, *waited, tt.waited)
		})
	}
}

func TestAnUploadWaitsLongerAndLongerAndAsLongAsItIsAskedTo(t *testing.T) {
	asks := func(after string) func(w http.ResponseWriter, r *http.Request) bool {
		return times(-1, http.MethodPatch, 0, func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
		})
	}
	backOff := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second}
	each := func(long time.Duration) (all []time.Duration) {
		for range maxSetbacks {
			all = append(all, long)
		}
		return all
	}
	tests := map[string]struct {
		after string
		want  []time.Duration
	}{
		"of itself":                             {"", backOff},
		"so many seconds":                       {"7", each(7 * time.Second)},
		"no longer than is reasonable":          {"86400", each(5 * time.Minute)},
		"as if nothing was said, if it is over": {"Mon, 02 Jan 2006 15:04:05 GMT", backOff},
		"as if nothing was said, if it is odd":  {"a while", backOff},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			up, waited := uploading(t, &uploadRegistry{fault: asks(tt.after)})
			_, err := up.Upload(t.Context(), content(10), func(int64) {})
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.True(t, e.Transient)
			assert.Equal(t, tt.want, *waited)
		})
	}
}

func TestAnUploadThatIsCutAgainAndAgainEndsAsLongAsItGetsFurther(t *testing.T) {
	registry := &uploadRegistry{}
	up, waited := uploading(t, registry)
	const each = 256 << 10
	registry.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || r.ContentLength <= each {
			return false
		}
		for _, upload := range registry.uploads {
			_, _ = io.CopyN(upload, r.Body, each)
		}
		panic(http.ErrAbortHandler)
	}
	want := content(8 * mebibyte)

	digest, err := up.Upload(t.Context(), want, func(int64) {})

	require.NoError(t, err)
	assert.Equal(t, digestOf(want), digest.String())
	assert.Greater(t, len(*waited), maxSetbacks)
}

// brokenBlob cannot be read from some byte on.
type brokenBlob struct {
	memoryBlob
	from int64
	err  error
}

func (b brokenBlob) Open(_ context.Context, offset int64) io.ReadCloser {
	return io.NopCloser(io.MultiReader(bytes.NewReader(b.memoryBlob[offset:b.from]), iotest.ErrReader(b.err)))
}

// endlessBlob does not say how long it is.
type endlessBlob struct{ memoryBlob }

func (endlessBlob) Size() int64 { return -1 }

func TestABlobOfUnknownLengthIsUploadedToItsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		size  int
		fault func(w http.ResponseWriter, r *http.Request) bool
	}{
		"in several chunks":                {size: 10 * mebibyte},
		"in chunks that it fills":          {size: 8 * mebibyte},
		"of nothing":                       {},
		"though the connection is cut":     {size: 10 * mebibyte, fault: times(2, http.MethodPatch, mebibyte, cut)},
		"though the end of it is cut":      {size: 10 * mebibyte, fault: times(1, http.MethodPut, 0, cut)},
		"though the registry has an error": {size: 10 * mebibyte, fault: times(1, http.MethodPatch, 0, status(http.StatusBadGateway))},
	} {
		t.Run(name, func(t *testing.T) {
			registry := &uploadRegistry{fault: tt.fault}
			up, _ := uploading(t, registry)
			up.Chunk = 4 * mebibyte
			want := content(tt.size)

			digest, err := up.Upload(t.Context(), endlessBlob{want}, func(int64) {})

			require.NoError(t, err)
			assert.Equal(t, digestOf(want), digest.String())
			assert.True(t, bytes.Equal(want, registry.blobs[digest.String()]))
		})
	}
}

func TestABlobThatCannotBeReadEndsItsUploadAtOnce(t *testing.T) {
	registry := &uploadRegistry{}
	up, waited := uploading(t, registry)
	want := errors.New("the file changed")

	_, err := up.Upload(t.Context(), brokenBlob{content(4 * mebibyte), 3 * mebibyte, want}, func(int64) {})

	assert.Equal(t, want, err)
	assert.Empty(t, *waited)
	assert.Empty(t, registry.blobs)
}

func TestABlobIsMountedFromAnotherRepositoryOfTheSameRegistry(t *testing.T) {
	blob := content(100)
	digest, err := v1.NewHash(digestOf(blob))
	require.NoError(t, err)
	tests := map[string]struct {
		from string
		held bool
		want bool
	}{
		"which has it":          {from: "HOST/models/earlier", held: true, want: true},
		"which does not":        {from: "HOST/models/earlier"},
		"not from another host": {from: "registry.example.com/models/earlier", held: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			registry := &uploadRegistry{elsewhere: map[string][]byte{}}
			up, _ := uploading(t, registry)
			if tt.held {
				registry.elsewhere[digest.String()] = blob
			}
			from, err := nameOf(strings.Replace(tt.from, "HOST", up.repository.name.RegistryStr(), 1))
			require.NoError(t, err)

			assert.Equal(t, tt.want, up.Mount(t.Context(), digest, from))

			assert.Equal(t, tt.want, registry.blobs[digest.String()] != nil)
			assert.Empty(t, registry.uploads, "no upload is left")
		})
	}
}

func nameOf(repository string) (name.Repository, error) {
	return name.NewRepository(repository, name.Insecure)
}

func TestAnUploadEndsWithItsContext(t *testing.T) {
	registry := &uploadRegistry{}
	up, waited := uploading(t, registry)
	ctx, cancel := context.WithCancel(t.Context())
	registry.fault = times(1, http.MethodPatch, mebibyte, func(http.ResponseWriter) { cancel() })

	_, err := up.Upload(ctx, content(4*mebibyte), func(int64) {})

	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, *waited)
}

func BenchmarkUpload(b *testing.B) {
	registry := &uploadRegistry{uploads: map[string]*bytes.Buffer{}, blobs: map[string][]byte{}}
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
