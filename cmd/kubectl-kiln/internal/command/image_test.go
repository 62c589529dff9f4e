package command

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
)

// newBuiltVersion packages a model, and creates a ModelVersion that is ready with it.
func newBuiltVersion(t *testing.T, namespace, name, repository string, files map[string]string) *v1alpha1.ModelVersion {
	t.Helper()
	image := repository + ":" + name
	code, out, complaint := call(t, editor, namespace, "package", newModel(t, files), image, "--base-image", "scratch", "-q")
	require.Equal(t, exitOK, code, complaint)
	status := readyStatus()
	status.Image = image
	_, status.Digest, _ = strings.Cut(strings.TrimSpace(out), "@")
	return newVersion(t, namespace, name, status)
}

func TestDiff(t *testing.T) {
	t.Parallel()
	ns, repository := newNamespace(t), newRegistry(t, "")+"/models/resnet"
	newBuiltVersion(t, ns, "v1", repository, map[string]string{"config.json": "{}", "w.bin": "weights", "old/a": "x", "same.txt": "s", "moved": strings.Repeat("m", 100)})
	newBuiltVersion(t, ns, "v2", repository, map[string]string{"config.json": "{}", "w.bin": "WEIGHTS", "new": "abc", "same.txt": "s", "moved": strings.Repeat("m", 100)})
	out := succeeds(t, ns, "diff", "v1", "mv/v2")
	assert.Equal(t, []string{"+", "new", "3", "B"}, strings.Fields(lineWith(t, out, "new")))
	assert.Equal(t, []string{"~", "w.bin", "7", "B"}, strings.Fields(lineWith(t, out, "w.bin")))
	assert.Equal(t, []string{"-", "old", "0", "B"}, strings.Fields(strings.Split(out, "\n")[2]))
	assert.Contains(t, lineWith(t, out, "old/a"), "-")
	assert.NotContains(t, out, "same.txt")
	assert.Contains(t, lastLine(out), "3 files the same, 103 B; the images share ")

	out = succeeds(t, ns, "diff", "v1", "v1")
	assert.Regexp(t, `^5 files the same, 111 B; the images share (\d+) of (\d+) layers, `, out)
}

func lineWith(t *testing.T, out, text string) string {
	t.Helper()
	for line := range strings.Lines(out) {
		if strings.Contains(line, text) {
			return line
		}
	}
	require.Fail(t, "no line with "+text, out)
	return ""
}

func TestVerify(t *testing.T) {
	t.Parallel()
	ns, host := newNamespace(t), newRegistry(t, "")
	repository := host + "/models/resnet"
	mv := newBuiltVersion(t, ns, "v1", repository, smallModel)
	out := succeeds(t, ns, "verify", "v1", "--deep")
	assert.Contains(t, out, "ok    "+repository+":v1 has the digest "+mv.Status.Digest+"\n")
	assert.Regexp(t, `ok    the registry has all \d layers, .*, for 2 platforms\n`, out)
	assert.Contains(t, out, "ok    all 2 files, 9 B, are as in the list of the image\n")
	assert.NotContains(t, succeeds(t, ns, "verify", "v1"), "in the list")

	tag, err := name.NewTag(repository+":v1", name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.Write(tag, empty.Image))
	code, out, complaint := call(t, editor, ns, "verify", "v1")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "FAIL  "+repository+":v1 has the digest sha256:")
	assert.Contains(t, complaint, "error: v1 does not verify: 1 of the checks failed")
}

// A registry that has another name in the cluster than here.
func TestVerify_registryHost(t *testing.T) {
	t.Parallel()
	ns, host := newNamespace(t), newRegistry(t, "")
	mv := newBuiltVersion(t, ns, "v1", host+"/models/resnet", smallModel)
	status := mv.Status
	status.Image = "localhost:1/models/resnet:v1"
	setStatus(t, mv, status)
	complaint := fails(t, ns, "verify", "v1")
	assert.Contains(t, complaint, "RegistryUnreachable: ")
	assert.Contains(t, complaint, "If this name is known in the cluster only, add --registry-host")
	assert.NotContains(t, complaint, "kubectl kiln retry", "it may not be lost")
	complaint = fails(t, ns, "verify", "v1", "--registry-host", "registry.invalid")
	assert.Contains(t, complaint, "the registry registry.invalid cannot be resolved in the DNS: ")
	succeeds(t, ns, "verify", "v1", "--registry-host", host)
}

func TestVerify_lost(t *testing.T) {
	t.Parallel()
	ns, host := newNamespace(t), newRegistry(t, "")
	status := readyStatus()
	status.Image = host + "/models/resnet:v1"
	newVersion(t, ns, "v1", status)
	assert.Contains(t, fails(t, ns, "verify", "v1"), "the registry does not have "+host+"/models/resnet@"+digest+": to have it built again, run: kubectl kiln retry v1 -n "+ns)
	newVersion(t, ns, "v2", failedStatus("wf"))
	assert.Contains(t, fails(t, ns, "verify", "v2"), "ModelVersion v2 has no image whose digest is known")

	status.Digest = pushEmpty(t, host+"/models/empty:v1")
	status.Image = host + "/models/empty:v1"
	newVersion(t, ns, "v3", status)
	assert.Contains(t, fails(t, ns, "verify", "v3"), "is not the image of a model: ")
}

func pushEmpty(t *testing.T, image string) string {
	t.Helper()
	tag, err := name.NewTag(image, name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.Write(tag, empty.Image))
	hash, err := empty.Image.Digest()
	require.NoError(t, err)
	return hash.String()
}

func TestCompareSums(t *testing.T) {
	manifest := layer.Manifest{Entries: []layer.ManifestEntry{{Path: "a", Type: layer.File, SHA256: "1"}, {Path: "d", Type: layer.Dir}, {Path: "b", Type: layer.File}}}
	tests := map[string]struct {
		sums map[string]string
		want string
	}{
		"the same":  {map[string]string{"a": "1", "b": "2"}, ""},
		"changed":   {map[string]string{"a": "2", "b": "2"}, `the file "a" has another content`},
		"lacks one": {map[string]string{"a": "1"}, `lacks the file "b"`},
		"has more":  {map[string]string{"a": "1", "b": "2", "c": "3"}, "has files that its list does not have"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := compareSums(manifest, tt.sums)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestQuotedPath(t *testing.T) {
	assert.Equal(t, "weights/ä b.bin", quotedPath("weights/ä b.bin"))
	assert.Equal(t, `"\x1b]0;title\aw.bin"`, quotedPath("\x1b]0;title\aw.bin"))
	assert.Equal(t, `"gpj.\u202ebin"`, quotedPath("gpj.\u202ebin"))
}

func TestExport(t *testing.T) {
	t.Parallel()
	ns, repository := newNamespace(t), newRegistry(t, "")+"/models/resnet"
	mv := newBuiltVersion(t, ns, "v1", repository, smallModel)
	dir := filepath.Join(t.TempDir(), "files")
	assert.Equal(t, "2 files of v1 are in "+dir+"\n", succeeds(t, ns, "export", "v1", dir))
	for path, want := range smallModel {
		content, err := os.ReadFile(filepath.Join(dir, path))
		require.NoError(t, err)
		assert.Equal(t, want, string(content))
	}
	assert.Contains(t, fails(t, ns, "export", "v1", dir), "the directory "+dir+" is not empty: name another one")

	target := filepath.Join(t.TempDir(), "layout")
	assert.Contains(t, succeeds(t, ns, "export", "v1", "oci:"+target), "is in the OCI layout "+target)
	path, err := layout.FromPath(target)
	require.NoError(t, err)
	index, err := path.ImageIndex()
	require.NoError(t, err)
	require.NoError(t, validate.Index(index, validate.Fast))
	hash, err := v1.NewHash(mv.Status.Digest)
	require.NoError(t, err)
	_, err = index.ImageIndex(hash)
	require.NoError(t, err)
	assert.Contains(t, fails(t, ns, "export", "v1", "oci:"+dir), dir+" is not empty, and is no OCI layout")
}

// A link in an image cannot make export write elsewhere.
func TestExport_links(t *testing.T) {
	t.Parallel()
	ns, repository := newNamespace(t), newRegistry(t, "")+"/models/resnet"
	source := newModel(t, smallModel)
	require.NoError(t, os.Symlink("weights/w.bin", filepath.Join(source, "latest")))
	code, out, complaint := call(t, editor, ns, "package", source, repository+":v1", "--base-image", "scratch", "-q")
	require.Equal(t, exitOK, code, complaint)
	status := readyStatus()
	status.Image, status.Digest, _ = strings.Cut(strings.TrimSpace(out), "@")
	newVersion(t, ns, "v1", status)
	dir := t.TempDir()
	succeeds(t, ns, "export", "v1", dir)
	target, err := os.Readlink(filepath.Join(dir, "latest"))
	require.NoError(t, err)
	assert.Equal(t, "weights/w.bin", target)

	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	outside := t.TempDir()
	require.NoError(t, root.Symlink(outside, "link"))
	w := &modelWriter{root: root, links: map[string]string{}}
	require.Error(t, w.writeFile("link/file", strings.NewReader("x")))
	require.Error(t, w.writeFile("../file", strings.NewReader("x")))
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	assert.Empty(t, entries, fmt.Sprint(entries))
}
