package modelimage

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/registry"
)

// rawManifest is a manifest or an index, as a registry sends it.
type rawManifest struct {
	content   string
	mediaType types.MediaType
}

func (m rawManifest) RawManifest() ([]byte, error)        { return []byte(m.content), nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return m.mediaType, nil }

// hostileRegistry is a registry that stores any manifest.
func hostileRegistry(t *testing.T) (repository name.Repository, config registry.Config) {
	t.Helper()
	server := httptest.NewServer(memory.New(memory.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	repository, err := name.NewRepository(host+"/models/resnet", name.Insecure)
	require.NoError(t, err)
	return repository, registry.Config{PlainHTTP: []string{host}}
}

// pushConfig pushes the config of an image and returns its descriptor.
func pushConfig(t *testing.T, repository name.Repository, content string) v1.Descriptor {
	t.Helper()
	blob := static.NewLayer([]byte(content), types.OCIConfigJSON)
	require.NoError(t, remote.WriteLayer(repository, blob))
	descriptor, err := partial.Descriptor(blob)
	require.NoError(t, err)
	return *descriptor
}

// A registry sends, or announces, documents that would fill the memory of a step.
func TestPullHostileDocuments(t *testing.T) {
	const emptyConfig = `{"os":"linux","architecture":"amd64"}`
	manifestOf := func(config v1.Descriptor) string {
		raw, err := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: []v1.Descriptor{}})
		require.NoError(t, err)
		return string(raw)
	}
	withSize := func(size int64) func(name.Repository) rawManifest {
		return func(repository name.Repository) rawManifest {
			config := pushConfig(t, repository, emptyConfig)
			config.Size = size
			return rawManifest{manifestOf(config), types.OCIManifestSchema1}
		}
	}
	withConfig := func(content string) func(name.Repository) rawManifest {
		return func(repository name.Repository) rawManifest {
			return rawManifest{manifestOf(pushConfig(t, repository, content)), types.OCIManifestSchema1}
		}
	}
	manifest := func(format string, args ...any) func(name.Repository) rawManifest {
		return func(name.Repository) rawManifest {
			return rawManifest{fmt.Sprintf(`{"schemaVersion":2,`+format+`}`, args...), types.OCIManifestSchema1}
		}
	}
	index := func(manifests string) func(name.Repository) rawManifest {
		return func(name.Repository) rawManifest {
			return rawManifest{`{"schemaVersion":2,"manifests":[` + manifests + `]}`, types.OCIImageIndex}
		}
	}
	for title, tt := range map[string]struct {
		document func(name.Repository) rawManifest
		want     string
	}{
		"a config without an end":           {withSize(-1), "its config has -1 bytes, and at most 4194304 are read"},
		"a config of many gigabytes":        {withSize(1 << 40), "its config has 1099511627776 bytes"},
		"a config of many megabytes":        {withConfig(emptyConfig + strings.Repeat(" ", registry.MaxDocument)), "bytes, and at most 4194304 are read"},
		"a config with very many objects":   {withConfig(`{"history":[` + strings.Repeat("{},", maxObjects) + `{}]}`), "its config has 50002 JSON objects, and at most 50000 are read"},
		"a manifest with very many objects": {manifest(`"layers":[%s{}]`, strings.Repeat("{},", maxObjects)), "its manifest has 50002 JSON objects"},
		"an index with very many objects":   {index(strings.Repeat("{},", maxObjects) + "{}"), "its index has 50002 JSON objects"},
	} {
		t.Run(title, func(t *testing.T) {
			repository, config := hostileRegistry(t)
			tag := repository.Tag("v1")
			require.NoError(t, remote.Put(tag, tt.document(repository)))

			_, err := PullModel(t.Context(), config, tag)
			var invalid *InvalidError
			require.ErrorAs(t, err, &invalid)
			assert.Contains(t, invalid.Problem, tt.want)

			_, _, err = PullBase(t.Context(), config, tag)
			var noVariant *NoVariantError
			require.ErrorAs(t, err, &noVariant)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

// A base image's index may be long, name a platform twice and hold other indexes.
func TestPullBaseOfLongIndex(t *testing.T) {
	repository, config := hostileRegistry(t)
	require.NoError(t, remote.Write(repository.Tag("amd64"), empty.Image))
	digest, err := empty.Image.Digest()
	require.NoError(t, err)
	size, err := empty.Image.Size()
	require.NoError(t, err)
	mediaType, err := empty.Image.MediaType()
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(repository.Tag("nested"), empty.Index))
	nested, err := partial.Descriptor(empty.Index)
	require.NoError(t, err)
	nested.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}
	manifests := []v1.Descriptor{*nested}
	for range 9_999 {
		manifests = append(manifests, v1.Descriptor{MediaType: mediaType, Digest: digest, Size: size, Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}, Annotations: map[string]string{"a\x1b[2J": "b"}})
	}
	raw, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: manifests})
	require.NoError(t, err)
	tag := repository.Tag("v1")
	require.NoError(t, remote.Put(tag, rawManifest{string(raw), types.OCIImageIndex}))

	variants, _, err := PullBase(t.Context(), config, tag)
	require.NoError(t, err)
	require.Len(t, variants, 1)
	assert.Equal(t, v1.Platform{OS: "linux", Architecture: "amd64"}, variants[0].Platform)

	_, err = PullModel(t.Context(), config, tag)
	var invalid *InvalidError
	require.ErrorAs(t, err, &invalid)
	assert.Contains(t, invalid.Problem, "its index has 10000 manifests")
}

// The manifest of an artifact is not an error of the registry, although its config does
// not exist.
func TestVariantsOfArtifact(t *testing.T) {
	repository, config := hostileRegistry(t)
	tag := repository.Tag("v1")
	content := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.example.chart","size":2,"digest":"sha256:%s"},"layers":[]}`, strings.Repeat("0", 64))
	require.NoError(t, remote.Put(tag, rawManifest{content, types.OCIManifestSchema1}))
	opened, err := config.Open(t.Context(), repository, registry.Pull)
	require.NoError(t, err)
	descriptor, err := opened.Fetch(t.Context(), tag)
	require.NoError(t, err)

	variants, err := Variants(descriptor)
	require.NoError(t, err)
	assert.Len(t, variants, 1)
}
