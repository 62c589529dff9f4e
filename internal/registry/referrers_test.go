package registry

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// referrersRegistry counts the manifests that are written to a registry. A test may
// respond to requests instead of it.
type referrersRegistry struct {
	mu      sync.Mutex
	inner   http.Handler
	respond func(w http.ResponseWriter, r *http.Request) bool
	written []string
}

func (h *referrersRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.respond != nil && h.respond(w, r) {
		return
	}
	if _, reference, found := strings.Cut(r.URL.Path, "/manifests/"); found && r.Method == http.MethodPut {
		h.mu.Lock()
		h.written = append(h.written, reference)
		h.mu.Unlock()
	}
	h.inner.ServeHTTP(w, r)
}

// newSubject returns a registry, a repository in it, and an image there.
func newSubject(t *testing.T, hasAPI bool) (*referrersRegistry, *Repository, v1.Descriptor) {
	t.Helper()
	handler := &referrersRegistry{inner: memory.New(memory.Logger(log.New(io.Discard, "", 0)), memory.WithReferrersSupport(hasAPI))}
	host := serve(t, handler)
	tag, err := name.NewTag(host+"/models/resnet:v1", name.Insecure)
	require.NoError(t, err)
	image, err := random.Image(10, 1)
	require.NoError(t, err)
	require.NoError(t, remote.Write(tag, image))
	repository, err := Config{PlainHTTP: []string{host}}.Open(t.Context(), tag.Repository, Push)
	require.NoError(t, err)
	descriptor, err := repository.Fetch(t.Context(), tag)
	require.NoError(t, err)
	handler.written = nil
	return handler, repository, descriptor.Descriptor
}

func artifact(content string) Artifact {
	return Artifact{Type: "application/vnd.example+json", Content: []byte(content), FileName: "example.json", Annotations: map[string]string{"example": content}}
}

func TestAttach(t *testing.T) {
	for name, tt := range map[string]struct {
		hasAPI bool
		// indexes is how often the index of referrers is written.
		indexes int
	}{
		"a referrers API":  {hasAPI: true},
		"no referrers API": {indexes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			handler, repository, subject := newSubject(t, tt.hasAPI)
			require.NoError(t, repository.Attach(t.Context(), subject, []Artifact{artifact("1"), artifact("2")}))
			assert.Len(t, handler.written, 2+tt.indexes)

			handler.written = nil
			require.NoError(t, repository.Attach(t.Context(), subject, []Artifact{artifact("2"), artifact("1")}))
			assert.Empty(t, handler.written, "what is there is not written again")

			require.NoError(t, repository.Attach(t.Context(), subject, []Artifact{artifact("3"), artifact("1")}))
			assert.Len(t, handler.written, 1+tt.indexes)
			assert.ElementsMatch(t, []string{"1", "2", "3"}, attached(t, repository, subject))
		})
	}
}

// attached returns the contents of the artifacts that refer to a subject. Their annotations
// have them too.
func attached(t *testing.T, repository *Repository, subject v1.Descriptor) []string {
	t.Helper()
	referrers, err := repository.Referrers(t.Context(), subject.Digest)
	require.NoError(t, err)
	var contents []string
	for _, d := range referrers {
		content, err := repository.ReadArtifact(t.Context(), d.Digest, 100)
		require.NoError(t, err)
		assert.Equal(t, string(content), d.Annotations["example"])
		contents = append(contents, string(content))
	}
	return contents
}

// Clients write the index at the tag: what it lists may have been deleted since, for example
// by a retention rule. The registry rejects an index with a manifest that it does not have.
func TestAttachBesideDeletedArtifacts(t *testing.T) {
	for name, tt := range map[string]struct {
		attach []Artifact
		want   []string
	}{
		"the same artifact": {[]Artifact{artifact("1")}, []string{"1"}},
		"another one":       {[]Artifact{artifact("2")}, []string{"2"}},
		"both":              {[]Artifact{artifact("2"), artifact("1")}, []string{"1", "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, repository, subject := newSubject(t, false)
			require.NoError(t, repository.Attach(t.Context(), subject, []Artifact{artifact("1")}))
			listed, err := repository.Referrers(t.Context(), subject.Digest)
			require.NoError(t, err)
			require.NoError(t, remote.Delete(repository.name.Digest(listed[0].Digest.String())))

			require.NoError(t, repository.Attach(t.Context(), subject, tt.attach))

			assert.Equal(t, tt.want, attached(t, repository, subject))
		})
	}
}

// Another client has read the index before it was written, and writes it afterwards.
func TestAttachBesideAnotherClient(t *testing.T) {
	handler, repository, subject := newSubject(t, false)
	require.NoError(t, repository.Attach(t.Context(), subject, []Artifact{artifact("other")}))
	before, err := repository.Fetch(t.Context(), repository.name.Tag(referrersTag(subject.Digest)))
	require.NoError(t, err)
	var writes atomic.Int32
	handler.respond = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, referrersTag(subject.Digest)) || writes.Add(1) > 1 {
			return false
		}
		handler.inner.ServeHTTP(w, r)
		again := httptest.NewRequestWithContext(r.Context(), http.MethodPut, r.URL.Path, bytes.NewReader(before.Manifest))
		again.Header.Set("Content-Type", string(before.MediaType))
		handler.inner.ServeHTTP(httptest.NewRecorder(), again)
		return true
	}

	require.NoError(t, repository.Attach(t.Context(), subject, []Artifact{artifact("1"), artifact("2")}))

	assert.EqualValues(t, 2, writes.Load())
	referrers, err := repository.Referrers(t.Context(), subject.Digest)
	require.NoError(t, err)
	assert.Len(t, referrers, 3)
}

// A cache returns the index as it was before.
func TestAttachBehindCache(t *testing.T) {
	handler, repository, subject := newSubject(t, false)
	writes := 0
	handler.respond = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, referrersTag(subject.Digest)) {
			return false
		}
		if r.Method == http.MethodPut {
			writes++
			return false
		}
		w.WriteHeader(http.StatusNotFound)
		return true
	}
	require.NoError(t, repository.Attach(t.Context(), subject, []Artifact{artifact("1")}))
	assert.Equal(t, maxIndexWrites, writes)
}

// A policy of the registry holds back every manifest until it is scanned.
func TestAttachWhereIndexesAreHeldBack(t *testing.T) {
	handler, repository, subject := newSubject(t, false)
	var isWritten atomic.Bool
	handler.respond = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, referrersTag(subject.Digest)) {
			return false
		}
		if r.Method == http.MethodPut {
			isWritten.Store(true)
			return false
		}
		if isWritten.Load() {
			w.WriteHeader(http.StatusPreconditionFailed)
			return true
		}
		return false
	}
	require.NoError(t, repository.Attach(t.Context(), subject, []Artifact{artifact("1")}))
	assert.True(t, isWritten.Load())
}

// An index that the registry rejects for another reason is not written without a part.
func TestAttachWhereIndexesAreRejected(t *testing.T) {
	handler, repository, subject := newSubject(t, false)
	require.NoError(t, repository.Attach(t.Context(), subject, []Artifact{artifact("1")}))
	indexes := 0
	handler.respond = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, referrersTag(subject.Digest)) {
			return false
		}
		indexes++
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	require.Error(t, repository.Attach(t.Context(), subject, []Artifact{artifact("2")}))
	assert.Equal(t, 1, indexes)
}

func TestReferrersOfRegistriesWithoutThem(t *testing.T) {
	for name, respond := range map[string]func(w http.ResponseWriter){
		"a page":             func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>")) },
		"method not allowed": func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"bad request":        func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			handler, repository, subject := newSubject(t, false)
			handler.respond = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/referrers/") {
					respond(w)
					return true
				}
				return false
			}
			require.NoError(t, repository.Attach(t.Context(), subject, []Artifact{artifact("1")}))
			referrers, err := repository.Referrers(t.Context(), subject.Digest)
			require.NoError(t, err)
			assert.Len(t, referrers, 1)
		})
	}
}

func TestReferrersOfHostileRegistry(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want string
	}{
		"no JSON":   {body: "x", want: "something else than an index of referrers"},
		"too large": {body: strings.Repeat(" ", MaxDocument+1), want: "sent a manifest of more than 4 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			handler, repository, subject := newSubject(t, true)
			handler.respond = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					return false
				}
				w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
				_, _ = w.Write([]byte(tt.body))
				return true
			}
			_, err := repository.Referrers(t.Context(), subject.Digest)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestReadArtifact(t *testing.T) {
	_, repository, subject := newSubject(t, true)
	require.NoError(t, repository.Attach(t.Context(), subject, []Artifact{artifact("large")}))
	referrers, err := repository.Referrers(t.Context(), subject.Digest)
	require.NoError(t, err)
	content, err := repository.ReadArtifact(t.Context(), referrers[0].Digest, 4)
	require.NoError(t, err)
	assert.Nil(t, content, "it has one byte too many")
	_, err = repository.ReadArtifact(t.Context(), v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, 4)
	assert.True(t, IsNotFound(err))
}

func TestAddSignature(t *testing.T) {
	handler, repository, subject := newSubject(t, false)
	add := func(content, signature string) {
		require.NoError(t, repository.AddSignature(t.Context(), subject.Digest, []byte(content), "application/vnd.example", map[string]string{"signature": signature}))
	}
	add("payload", "1")
	add("payload", "1")
	assert.Equal(t, []string{SignatureTag(subject.Digest)}, handler.written)
	add("payload", "2")
	add("payload", "1")
	descriptor, err := repository.Fetch(t.Context(), repository.name.Tag(SignatureTag(subject.Digest)))
	require.NoError(t, err)
	image, err := descriptor.Image()
	require.NoError(t, err)
	manifest, err := image.Manifest()
	require.NoError(t, err)
	require.Len(t, manifest.Layers, 2)
	assert.Equal(t, "1", manifest.Layers[0].Annotations["signature"])
	assert.Equal(t, "2", manifest.Layers[1].Annotations["signature"])
}

// Another user has pushed an image there whose config is none, or was deleted.
func TestAddSignatureBesideBrokenImage(t *testing.T) {
	for name, config := range map[string][]byte{"no JSON": []byte("x"), "JSON of another type": []byte("[]"), "no config": nil} {
		t.Run(name, func(t *testing.T) {
			_, repository, subject := newSubject(t, false)
			blob := static.NewLayer(config, types.OCIConfigJSON)
			if config != nil {
				require.NoError(t, remote.WriteLayer(repository.name, blob))
			}
			descriptor, err := descriptorOf(blob)
			require.NoError(t, err)
			manifest, err := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: descriptor, Layers: []v1.Descriptor{}})
			require.NoError(t, err)
			require.NoError(t, repository.putManifest(t.Context(), SignatureTag(subject.Digest), types.OCIManifestSchema1, manifest))

			err = repository.AddSignature(t.Context(), subject.Digest, []byte("payload"), "application/vnd.example", nil)

			var got *Error
			require.ErrorAs(t, err, &got)
			assert.Contains(t, got.Message, "something else than signatures at the tag")
			assert.False(t, got.Transient)
		})
	}
}
