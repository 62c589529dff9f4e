package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"

	"github.com/modelkiln/modelkiln/test/release/chart"
)

// manifestVersion returns the version that the manifests of the checkout name.
func manifestVersion(t *testing.T) string {
	t.Helper()
	loaded, err := loader.LoadDir(filepath.Join(checkout, chart.Dir))
	require.NoError(t, err)
	return loaded.Metadata.AppVersion
}

func TestRelease(t *testing.T) {
	host := startRegistry(t)
	base := pushBase(t, host)
	kaniko := reference(t, host+"/mirror/kaniko:v1.28.3")
	require.NoError(t, remote.WriteIndex(kaniko, empty.Index))
	version, repository, dir := manifestVersion(t), host+"/team", t.TempDir()+"/dist"

	cmd := makeTarget(t, "release", "VERSION="+version, "REPOSITORY="+repository, "KANIKO="+kaniko.String(), "DIST="+dir,
		// The other platforms take minutes to compile: TestWritePlugin.
		"RELEASE_FLAGS=--allow-changes --plugin-platforms=linux/"+runtime.GOARCH)
	cmd.Env = append(cmd.Env, "KO_DEFAULTBASEIMAGE="+base.index.String())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)

	digests := assertImages(t, base, repository, version)
	kanikoDigest, err := empty.Index.Digest()
	require.NoError(t, err)
	images := []string{
		repository + "/modelkiln@" + digests["modelkiln"],
		repository + "/modelkiln-step@" + digests["modelkiln-step"],
		host + "/mirror/kaniko@" + kanikoDigest.String(),
	}
	archive := "modelkiln-" + chart.Version(version) + ".tgz"

	t.Run("images.txt", func(t *testing.T) {
		lines := strings.Split(strings.TrimSpace(string(read(t, dir, "images.txt"))), "\n")
		assert.Len(t, lines, 4)
		assert.Subset(t, lines, images)
		for _, line := range lines {
			_, err := name.NewDigest(line)
			assert.NoError(t, err, "the base image has a digest too")
		}
	})
	t.Run("install.yaml", func(t *testing.T) {
		content := read(t, dir, "install.yaml")
		assert.ElementsMatch(t, images, imagesOf(content))
		assert.True(t, bytes.HasPrefix(content, []byte("apiVersion: v1\nkind: Namespace\n")), "what is in the namespace comes later")
	})
	t.Run("chart", func(t *testing.T) { assertChart(t, filepath.Join(dir, archive), version, images) })
	t.Run("chart in the registry", func(t *testing.T) {
		assertChartArtifact(t, reference(t, repository+"/charts/modelkiln:"+chart.Version(version)), read(t, dir, archive))
	})
	t.Run("kubectl kiln", func(t *testing.T) {
		assertPlugin(t, filepath.Join(dir, "kiln.yaml"), filepath.Join(dir, "kubectl-kiln_linux_"+runtime.GOARCH+".tar.gz"), version)
	})
	t.Run("sbom", func(t *testing.T) {
		for _, program := range []string{"modelkiln", "modelkiln-step"} {
			for _, of := range []string{"index", "linux-amd64", "linux-arm64"} {
				var document struct{ SPDXVersion string }
				require.NoError(t, json.Unmarshal(read(t, dir, "sbom/"+program+"-"+of+".spdx.json"), &document))
				assert.Regexp(t, "^SPDX-2", document.SPDXVersion)
			}
		}
	})
	t.Run("release-notes.md", func(t *testing.T) {
		notes := string(read(t, dir, "release-notes.md"))
		assert.Contains(t, notes, "# Modelkiln "+version+"\n")
		assert.Contains(t, notes, "helm install modelkiln oci://"+repository+"/charts/modelkiln --version "+chart.Version(version)+" ")
		for _, image := range images {
			assert.Contains(t, notes, "- `"+image+"`\n")
		}
	})
	t.Run("deploy/README.md", func(t *testing.T) { assertDocumentedCommands(t, dir, repository, version) })
	t.Run("checksums.txt", func(t *testing.T) {
		for _, line := range strings.Split(strings.TrimSpace(string(read(t, dir, "checksums.txt"))), "\n") {
			sum, path, _ := strings.Cut(line, "  ")
			assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(read(t, dir, path))), sum, path)
		}
		for _, path := range []string{"install.yaml", "images.txt", "release-notes.md", archive, "sbom/modelkiln-index.spdx.json"} {
			assert.Contains(t, string(read(t, dir, "checksums.txt")), "  "+path+"\n")
		}
	})
}

// assertPlugin checks that Krew installs kubectl kiln for this machine, with its licenses.
func assertPlugin(t *testing.T, manifest, archive, version string) {
	t.Helper()
	root := t.TempDir()
	krew := exec.CommandContext(t.Context(), "go", "tool", "-modfile=../tools/krew/go.mod", "krew", "install", "--manifest="+manifest, "--archive="+archive)
	krew.Env = append(os.Environ(), "KREW_ROOT="+root, "KREW_NO_UPGRADE_CHECK=1")
	out, err := krew.CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.CommandContext(t.Context(), filepath.Join(root, "bin", "kubectl-kiln"), "version", "--client").Output()
	require.NoError(t, err)
	assert.Contains(t, string(out), version)
	dir := filepath.Join(root, "store", "kiln", version)
	license, err := os.ReadFile(filepath.Join(checkout, "LICENSE"))
	require.NoError(t, err)
	assert.Equal(t, string(license), string(read(t, dir, "LICENSE")))
	assert.FileExists(t, filepath.Join(dir, "third_party", "go", "LICENSE"))
	build, err := buildinfo.ReadFile(filepath.Join(dir, "kubectl-kiln"))
	require.NoError(t, err)
	for _, dependency := range build.Deps {
		assert.DirExists(t, filepath.Join(dir, "third_party", dependency.Path+"@"+dependency.Version), "no license")
	}
}

func read(t *testing.T, dir, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, path))
	require.NoError(t, err)
	return content
}

// imagesOf returns the images of the containers in manifests, each once.
func imagesOf(manifests []byte) []string {
	seen := map[string]bool{}
	var images []string
	for _, line := range strings.Split(string(manifests), "\n") {
		image, found := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(line), "- "), "image: ")
		if found && !seen[image] {
			seen[image] = true
			images = append(images, image)
		}
	}
	return images
}

// assertChart checks that a packaged chart installs the images of the release.
func assertChart(t *testing.T, path, version string, images []string) {
	t.Helper()
	loaded, err := loader.Load(path)
	require.NoError(t, err)
	assert.Equal(t, chart.Version(version), loaded.Metadata.Version)
	assert.Equal(t, version, loaded.Metadata.AppVersion)
	for _, image := range images {
		assert.Contains(t, loaded.Metadata.Annotations["artifacthub.io/images"], "image: "+image+"\n")
	}

	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.APIVersions = append(capabilities.APIVersions, "argoproj.io/v1alpha1/ClusterWorkflowTemplate")
	values, err := chartutil.ToRenderValues(loaded, nil, chartutil.ReleaseOptions{Name: "modelkiln", Namespace: "modelkiln-system"}, capabilities)
	require.NoError(t, err)
	rendered, err := engine.Render(loaded, values)
	require.NoError(t, err)
	var all bytes.Buffer
	for _, content := range rendered {
		all.WriteString(content)
	}
	assert.ElementsMatch(t, images, imagesOf(all.Bytes()))
}

// assertChartArtifact checks that helm can pull a chart from a registry.
func assertChartArtifact(t *testing.T, ref name.Tag, want []byte) {
	t.Helper()
	artifact, err := remote.Image(ref)
	require.NoError(t, err)
	manifest, err := artifact.Manifest()
	require.NoError(t, err)
	assert.Equal(t, "application/vnd.cncf.helm.config.v1+json", string(manifest.Config.MediaType))
	require.Len(t, manifest.Layers, 1)
	assert.Equal(t, "application/vnd.cncf.helm.chart.content.v1.tar+gzip", string(manifest.Layers[0].MediaType))
	layers, err := artifact.Layers()
	require.NoError(t, err)
	layer, err := layers[0].Compressed()
	require.NoError(t, err)
	defer func() { _ = layer.Close() }()
	got, err := io.ReadAll(layer)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

// The shell does not evaluate what make passes on.
func TestRelease_WrongVersion(t *testing.T) {
	dir := t.TempDir() + "/dist"
	out, err := makeTarget(t, "release", "REPOSITORY=registry.example.com/team", "VERSION=v1.2.3`id`", "DIST="+dir).CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "release: VERSION=\"v1.2.3`id`\" is not a version such as v0.2.0 or v0.2.0-rc.1. Example: make release VERSION=v0.2.0 REPOSITORY=registry.example.com/modelkiln\n")
	assert.NoDirExists(t, dir)
}

func TestPrepareRelease_WrongVersion(t *testing.T) {
	out, err := makeTarget(t, "prepare-release", "VERSION=next").CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), `release: VERSION="next" is not a version such as v0.2.0`)
}
