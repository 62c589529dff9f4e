package dist

import (
	"bytes"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/modelkiln/modelkiln/test/release/chart"
)

const checkout = "../../.."

const (
	operator = "registry.example.com/team/modelkiln"
	digest   = "@sha256:e2e927ec666bae08560abb3c55d0659eceabb657f56b6782ab500a9fc7f555e3"
)

func TestMake_Refused(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	objects, err := chart.Render(checkout, chart.Kustomization{Resources: []string{"deploy/default"}})
	require.NoError(t, err)
	named, err := chart.Images(objects)
	require.NoError(t, err)
	version := strings.TrimPrefix(named.Operator, chart.OperatorImage+":")

	tests := map[string]struct{ version, repository, kaniko, platforms, want string }{
		"no version":            {"", host + "/team", "", "", `VERSION="" is not a version such as v0.2.0`},
		"a version without v":   {"0.2.0", host + "/team", "", "", `VERSION="0.2.0" is not a version`},
		"a version of two":      {"v0.2", host + "/team", "", "", `VERSION="v0.2" is not a version`},
		"a leading zero":        {"v0.2.0-rc.01", host + "/team", "", "", `VERSION="v0.2.0-rc.01" is not a version`},
		"build metadata":        {"v0.2.0+1", host + "/team", "", "", `VERSION="v0.2.0+1" is not a version`},
		"no repository":         {version, "", "", "", `REPOSITORY="" is invalid`},
		"a URL":                 {version, "https://" + host + "/team", "", "", "it must be a registry host and a lowercase path"},
		"a version of nothing":  {"v99.0.0", host + "/team", "", "", "run make prepare-release VERSION=v99.0.0 and commit the result"},
		"a malformed image":     {version, host + "/team", "a b", "", `KANIKO="a b" is not an image`},
		"an image that is gone": {version, host + "/team", host + "/kaniko:v9", "", "the digest of Kaniko's image cannot be read: "},
		"an unknown platform":   {version, host + "/team", "", "linux/amd64,plan9/mips", `--plugin-platforms: kubectl kiln is not released for "plan9/mips", but for linux/amd64,linux/arm64,darwin/amd64,darwin/arm64`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/dist"
			err := Make(t.Context(), Options{
				Root: checkout, Output: dir, Version: tt.version, Repository: tt.repository, Kaniko: tt.kaniko, PluginPlatforms: tt.platforms, AllowChanges: true, Progress: io.Discard,
			})
			require.ErrorContains(t, err, tt.want)
			assert.NoDirExists(t, dir)
		})
	}
}

// A digest needs no registry.
func TestPin_Digest(t *testing.T) {
	r := release{}
	got, err := r.pin(t.Context(), "registry.invalid/mirror/kaniko"+digest)
	require.NoError(t, err)
	assert.Equal(t, "registry.invalid/mirror/kaniko"+digest, got)
}

func TestPushed(t *testing.T) {
	t.Parallel()
	step := strings.Replace(digest, "e2e9", "0000", 1)
	gotOperator, gotStep, err := pushed("go run ./test/notices\n"+operator+"-step:v1"+step+"\n"+operator+":v1"+digest+"\n", "registry.example.com/team")
	require.NoError(t, err)
	assert.Equal(t, operator+digest, gotOperator)
	assert.Equal(t, operator+"-step"+step, gotStep)

	_, _, err = pushed(operator+":v1"+digest+"\n", "registry.example.com/team")
	assert.ErrorContains(t, err, "make push-images has not printed the digests of registry.example.com/team/modelkiln and registry.example.com/team/modelkiln-step")
}

func TestBefore(t *testing.T) {
	t.Parallel()
	tags := []string{"v0.9.0", "v0.10.0", "v1.0.0-rc.1", "v1.0.0-rc.2", "v1.0.0", "v2.0.0", "vendor"}
	for version, want := range map[string]string{
		"v0.9.0":      "",
		"v0.10.0":     "v0.9.0",
		"v1.0.0-rc.2": "v1.0.0-rc.1",
		"v1.0.0":      "v0.10.0",
		"v1.0.1-rc.1": "v1.0.0",
		"v1.0.1":      "v1.0.0",
	} {
		got, err := before(version, tags)
		require.NoError(t, err)
		assert.Equal(t, want, got, version)
	}
}

// newRepository returns a Git repository with one commit, and a function that runs git.
func newRepository(t *testing.T) (dir string, git func(args ...string)) {
	t.Helper()
	dir = t.TempDir()
	git = func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "First")
	return dir, git
}

func TestCheckCheckout(t *testing.T) {
	dir, git := newRepository(t)
	o := Options{Root: dir, Version: "v1.0.0"}
	require.NoError(t, checkCheckout(t.Context(), o))
	git("tag", "v1.0.0")
	git("tag", "-m", "Annotated", "v2.0.0")
	require.NoError(t, checkCheckout(t.Context(), o), "the tag may exist already")
	require.NoError(t, checkCheckout(t.Context(), Options{Root: dir, Version: "v2.0.0"}))
	git("commit", "-q", "--allow-empty", "-m", "Second")
	for _, version := range []string{"v1.0.0", "v2.0.0"} {
		require.ErrorContains(t, checkCheckout(t.Context(), Options{Root: dir, Version: version}), "the tag "+version+" exists and is that of another commit, whose images would be replaced: ")
	}
	o.Version = "v3.0.0"
	require.NoError(t, checkCheckout(t.Context(), o))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "new.yaml"), nil, 0o600))
	require.ErrorContains(t, checkCheckout(t.Context(), o), "the checkout has changes that are not committed, and the tag v3.0.0 would not contain them: commit or remove them:\n?? new.yaml")
	o.AllowChanges = true
	require.NoError(t, checkCheckout(t.Context(), o))
	require.ErrorContains(t, checkCheckout(t.Context(), Options{Root: t.TempDir()}), "git status: ")
}

// Two releases of one commit have the same chart.
func TestPushChart_Reproducible(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	dir, git := newRepository(t)
	require.NoError(t, os.CopyFS(dir, os.DirFS(copyManifests(t))))
	git("add", "-A")
	git("commit", "-q", "-m", "Release")
	push := func() (archive []byte, chartDigest string) {
		r := release{
			Options: Options{Root: dir, Output: t.TempDir(), Repository: strings.TrimPrefix(server.URL, "http://") + "/team", Progress: io.Discard},
			images:  chart.References{Operator: operator + digest, Step: operator + "-step" + digest, Kaniko: operator + "-kaniko" + digest, Base: operator + "-base" + digest},
		}
		require.NoError(t, r.pushChart(t.Context()))
		paths, err := filepath.Glob(filepath.Join(r.Output, "modelkiln-*.tgz"))
		require.NoError(t, err)
		require.Len(t, paths, 1)
		archive, err = os.ReadFile(paths[0])
		require.NoError(t, err)
		return archive, r.chartDigest
	}
	begin := time.Now().Unix()
	want, wantDigest := push()
	loaded, err := loader.LoadArchive(bytes.NewReader(want))
	require.NoError(t, err)
	assert.Equal(t, "modelkiln", loaded.Name())
	require.Eventually(t, func() bool { return time.Now().Unix() > begin }, time.Minute, 10*time.Millisecond, "the times in archives are seconds")
	got, gotDigest := push()
	assert.True(t, bytes.Equal(want, got))
	assert.Equal(t, wantDigest, gotDigest)
}

func TestCommits(t *testing.T) {
	dir, git := newRepository(t)
	o := Options{Root: dir, Version: "v1.1.0"}
	got, since, err := o.commits(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"First"}, got, "the first release")
	assert.Empty(t, since)

	git("tag", "v1.0.0")
	git("tag", "v1.0.0-rc.1")
	git("tag", "vendor")
	git("commit", "-q", "--allow-empty", "-m", "Second")
	git("commit", "-q", "--allow-empty", "-m", "Third")
	git("tag", "v1.1.0")
	got, since, err = o.commits(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"Third", "Second"}, got, "the tag may exist already")
	assert.Equal(t, "v1.0.0", since)
}

func TestNotes(t *testing.T) {
	t.Parallel()
	r := release{
		Options:     Options{Version: "v1.1.0", Repository: "registry.example.com/team"},
		images:      chart.References{Operator: operator + digest, Step: operator + "-step" + digest, Kaniko: "k" + digest, Base: "b" + digest},
		chartDigest: digest[1:],
		plugin:      plugin{Metadata: pluginName{Name: "kiln"}},
	}
	notes := r.notes([]string{"Third: `code` <b> of @someone"}, "v1.0.0")
	for _, want := range []string{
		"# Modelkiln v1.1.0\n",
		"kubectl apply --server-side -k 'github.com/modelkiln/modelkiln/deploy/default?ref=v1.1.0'\n",
		"helm install modelkiln oci://registry.example.com/team/charts/modelkiln --version 1.1.0 -n modelkiln-system --create-namespace\n",
		"kubectl krew install --manifest-url=https://github.com/modelkiln/modelkiln/releases/download/v1.1.0/kiln.yaml\n",
		"- `" + operator + digest + "`\n",
		"- the chart: `registry.example.com/team/charts/modelkiln" + digest + "`\n",
		"Since v1.0.0:\n\n- Third: \\`code\\` \\<b> of @\u200bsomeone\n",
	} {
		assert.Contains(t, notes, want)
	}
	assert.NotContains(t, r.notes([]string{"First"}, ""), "Since")
}

// copyManifests copies what the manifests of a release are made of.
func copyManifests(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"deploy", "workflow-templates"} {
		require.NoError(t, os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join(checkout, dir))))
	}
	changelog, err := os.ReadFile(filepath.Join(checkout, "CHANGELOG.md"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "CHANGELOG.md"), changelog, 0o600))
	return root
}

// Users of kustomize get the images of the tag that they reference.
func TestPrepare(t *testing.T) {
	root := copyManifests(t)
	require.NoError(t, Prepare(root, "v9.8.7"))
	outdated, err := chart.Outdated(root)
	require.NoError(t, err)
	assert.Empty(t, outdated)

	git := func(args ...string) {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", root, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	git("init", "-q")
	git("add", "-A")
	git("commit", "-q", "-m", "Release")
	git("tag", "v9.8.7")

	overlay := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte("resources: ['file://"+root+"//deploy/default?ref=v9.8.7']\n"), fs.FileMode(0o600)))
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), overlay)
	require.NoError(t, err)
	images, err := chart.Images(objects)
	require.NoError(t, err)
	assert.Equal(t, chart.OperatorImage+":v9.8.7", images.Operator)
	assert.Equal(t, chart.StepImage+":v9.8.7", images.Step)
	assert.True(t, strings.HasPrefix(images.Kaniko, chart.KanikoImage+":v1."), images.Kaniko)
}
