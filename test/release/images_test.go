// The tests run make release and make push-images against a registry in this process.
package main

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// checkout is the root of the checkout, relative to this package.
const checkout = "../.."

// baseImage is the index that stands for the base image of .ko.yaml, and the digests of its images by architecture.
type baseImage struct {
	index   name.Digest
	digests map[string]v1.Hash
}

// nonRoot is the user of the base image.
const nonRoot = "65532"

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// assertImages checks what a release has pushed to a repository under a tag, and returns
// the digests of the indexes by program.
func assertImages(t *testing.T, base baseImage, repository, tag string) map[string]string {
	t.Helper()
	digests := map[string]string{}
	for _, program := range []string{"modelkiln", "modelkiln-step"} {
		ref := reference(t, repository+"/"+program+":"+tag)
		index, err := remote.Index(ref)
		require.NoError(t, err)
		digest, err := index.Digest()
		require.NoError(t, err)
		digests[program] = digest.String()
		assertSBOM(t, ref.Context(), digest)

		manifest, err := index.IndexManifest()
		require.NoError(t, err)
		var architectures []string
		for _, each := range manifest.Manifests {
			assert.Equal(t, "linux", each.Platform.OS)
			architectures = append(architectures, each.Platform.Architecture)
			img, err := index.Image(each.Digest)
			require.NoError(t, err)
			assertImage(t, img, program, each.Platform.Architecture, tag)
			assertBase(t, base, img, each.Platform.Architecture)
			assertSBOM(t, ref.Context(), each.Digest)
		}
		assert.ElementsMatch(t, []string{"amd64", "arm64"}, architectures)
	}
	return digests
}

// startRegistry starts a registry and returns its host and port.
func startRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// pushBase pushes a base image that has no files.
func pushBase(t *testing.T, host string) baseImage {
	t.Helper()
	base := baseImage{digests: map[string]v1.Hash{}}
	var index v1.ImageIndex = empty.Index
	for architecture := range machines {
		img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
			OS:           "linux",
			Architecture: architecture,
			RootFS:       v1.RootFS{Type: "layers"},
			Config:       v1.Config{User: nonRoot},
		})
		require.NoError(t, err)
		base.digests[architecture], err = img.Digest()
		require.NoError(t, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	ref := reference(t, host+"/base:nonroot")
	require.NoError(t, remote.WriteIndex(ref, index))
	digest, err := index.Digest()
	require.NoError(t, err)
	base.index = ref.Context().Digest(digest.String())
	return base
}

func reference(t *testing.T, of string) name.Tag {
	t.Helper()
	ref, err := name.NewTag(of, name.StrictValidation)
	require.NoError(t, err)
	return ref
}

// makeTarget returns a call of make that inherits neither the flags of the make that runs this test nor credentials.
func makeTarget(t *testing.T, target string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", append([]string{"--no-print-directory", "-C", checkout, target}, args...)...)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "DOCKER_CONFIG="+t.TempDir())
	return cmd
}

// assertBase checks that an image names the base image that it was built on.
func assertBase(t *testing.T, want baseImage, img v1.Image, architecture string) {
	t.Helper()
	manifest, err := img.Manifest()
	require.NoError(t, err)
	assert.Equal(t, want.index.String(), manifest.Annotations["org.opencontainers.image.base.name"])
	assert.Equal(t, want.digests[architecture].String(), manifest.Annotations["org.opencontainers.image.base.digest"])
}

// assertImage checks that an image is one program for its architecture with its licenses, and runs as the base image's user.
func assertImage(t *testing.T, img v1.Image, program, architecture, version string) {
	t.Helper()
	config, err := img.ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, architecture, config.Architecture)
	assert.Equal(t, nonRoot, config.Config.User)
	assert.Equal(t, []string{"/ko-app/" + program}, config.Config.Entrypoint)
	assert.Equal(t, "https://github.com/modelkiln/modelkiln", config.Config.Labels["org.opencontainers.image.source"])
	assert.Equal(t, version, config.Config.Labels["org.opencontainers.image.version"])
	assert.Regexp(t, `^[0-9a-f]{40}(-dirty)?$`, config.Config.Labels["org.opencontainers.image.revision"])

	found := files(t, img)
	require.Contains(t, found, "/ko-app/"+program, "the path that deploy/ and workflow-templates/ name")
	assertNotices(t, found, program)
	header, err := elf.NewFile(bytes.NewReader(found["/ko-app/"+program]))
	require.NoError(t, err)
	assert.Equal(t, machines[architecture], header.Machine)
	assert.Nil(t, header.Section(".symtab"), "the program is stripped")
	imported, err := header.ImportedLibraries()
	require.NoError(t, err)
	assert.Empty(t, imported, "the program is static")
	if architecture == runtime.GOARCH {
		assert.Equal(t, program+" "+version+" (revision "+config.Config.Labels["org.opencontainers.image.revision"]+", "+runtime.Version()+")\n", printedVersion(t, found["/ko-app/"+program]))
	}
}

// printedVersion runs a program with --version.
func printedVersion(t *testing.T, program []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, program, 0o700))
	out, err := exec.CommandContext(t.Context(), path, "--version").Output()
	require.NoError(t, err)
	return string(out)
}

// kodata is where ko puts the licenses.
const kodata = "/var/run/ko/"

// assertNotices checks that an image contains, besides its program, only licenses and
// notices: Modelkiln's, Go's, and those of each module that is linked into the program.
func assertNotices(t *testing.T, found map[string][]byte, program string) {
	t.Helper()
	license, err := os.ReadFile(filepath.Join(checkout, "LICENSE"))
	require.NoError(t, err)
	assert.Equal(t, string(license), string(found[kodata+"LICENSE"]))
	assert.Contains(t, found, kodata+"third_party/go/LICENSE")

	build, err := buildinfo.Read(bytes.NewReader(found["/ko-app/"+program]))
	require.NoError(t, err)
	require.NotEmpty(t, build.Deps)
	others := maps.Clone(found)
	delete(others, "/ko-app/"+program)
	maps.DeleteFunc(others, func(path string, _ []byte) bool { return strings.HasPrefix(path, kodata) })
	assert.Empty(t, slices.Collect(maps.Keys(others)))
	for _, dependency := range build.Deps {
		dir := kodata + "third_party/" + dependency.Path + "@" + dependency.Version + "/"
		assert.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(found)), func(path string) bool { return strings.HasPrefix(path, dir) }), "no license in %s", dir)
	}
}

// files returns the content of the regular files of an image by path.
func files(t *testing.T, img v1.Image) map[string][]byte {
	t.Helper()
	flattened := mutate.Extract(img)
	defer func() { _ = flattened.Close() }()
	found := map[string][]byte{}
	for entries := tar.NewReader(flattened); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		if header.Typeflag == tar.TypeReg {
			found["/"+strings.TrimPrefix(header.Name, "/")], err = io.ReadAll(entries)
			require.NoError(t, err)
		}
	}
}

// assertSBOM checks that the registry has an SBOM for a digest, under the tag that cosign looks for.
func assertSBOM(t *testing.T, repository name.Repository, of v1.Hash) {
	t.Helper()
	sbom, err := remote.Image(repository.Tag(of.Algorithm + "-" + of.Hex + ".sbom"))
	require.NoError(t, err)
	layers, err := sbom.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	content, err := layers[0].Uncompressed()
	require.NoError(t, err)
	defer func() { _ = content.Close() }()
	var document struct {
		SPDXVersion string `json:"spdxVersion"`
		Packages    []struct{ Name string }
	}
	require.NoError(t, json.NewDecoder(content).Decode(&document))
	assert.Regexp(t, "^SPDX-2", document.SPDXVersion)
	assert.NotEmpty(t, document.Packages)
}

func TestPushImages_WrongArguments(t *testing.T) {
	const usage = "make push-images REPOSITORY=registry.example.com/modelkiln TAG=v0.1.0"
	tests := map[string]struct {
		args []string
		want string
	}{
		"no repository": {
			want: "REPOSITORY='' is invalid: it must be a registry host and a lowercase path, without a scheme or a tag. Example: " + usage,
		},
		"a repository without a registry": {
			args: []string{"REPOSITORY=modelkiln", "TAG=v1"},
			want: "REPOSITORY='modelkiln' is invalid: it must be a registry host and a lowercase path, without a scheme or a tag. Example: " + usage,
		},
		"a URL": {
			args: []string{"REPOSITORY=https://registry.example.com/modelkiln", "TAG=v1"},
			want: "REPOSITORY='https://registry.example.com/modelkiln' is invalid: it must be a registry host and a lowercase path, without a scheme or a tag. Example: " + usage,
		},
		"a repository with a tag": {
			args: []string{"REPOSITORY=registry.example.com/modelkiln:v1", "TAG=v1"},
			want: "REPOSITORY='registry.example.com/modelkiln:v1' is invalid: it must be a registry host and a lowercase path, without a scheme or a tag. Example: " + usage,
		},
		"no tag": {
			args: []string{"REPOSITORY=registry.example.com/modelkiln"},
			want: "TAG='' is not a valid image tag. Example: " + usage,
		},
		"a tag that a shell would evaluate": {
			args: []string{"REPOSITORY=registry.example.com/modelkiln", "TAG=`id`"},
			want: "TAG='`id`' is not a valid image tag. Example: " + usage,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := makeTarget(t, "push-images", tt.args...).CombinedOutput()
			require.Error(t, err)
			assert.Contains(t, string(out), tt.want+"\n")
		})
	}
}

// A tag can be moved to another image.
func TestBaseImageIsPinnedByDigest(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(checkout, ".ko.yaml"))
	require.NoError(t, err)
	var config struct{ DefaultBaseImage string }
	require.NoError(t, yaml.Unmarshal(content, &config))
	_, err = name.NewDigest(config.DefaultBaseImage)
	require.NoError(t, err)
}
