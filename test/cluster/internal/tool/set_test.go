package tool

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
)

func TestRequiredVersion(t *testing.T) {
	tests := map[string]struct {
		goMod string
		want  string
	}{
		"a block":                           {goMod: "require (\n\texample.com/a v1.2.3\n)\n", want: "v1.2.3"},
		"an indirect requirement":           {goMod: "require (\n\texample.com/a v1.2.3 // indirect\n)\n", want: "v1.2.3"},
		"a single line":                     {goMod: "require example.com/a v1.2.3\n", want: "v1.2.3"},
		"another module of the same prefix": {goMod: "require example.com/a/v2 v2.0.0\n"},
		"a tool directive":                  {goMod: "tool example.com/a\n"},
		"a replace directive":               {goMod: "replace example.com/a => example.com/b v1.0.0\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, requiredVersion(tt.goMod, "example.com/a"))
		})
	}
}

func TestMajorMinor(t *testing.T) {
	major, minor := majorMinor("v1.35.4")
	assert.Equal(t, "1", major)
	assert.Equal(t, "35", minor)
}

func TestFind(t *testing.T) {
	co, err := checkout.Find(".")
	require.NoError(t, err)
	for _, name := range slices.Concat(Names(), TrainingNames(), []string{OldestKubernetes}) {
		got, err := Find(co, name)
		require.NoError(t, err)
		assert.Regexp(t, `^v\d+\.\d+\.\d+$`, got.Version, name)
		assert.Equal(t, filepath.Join(co.Cache, "tools"), filepath.Dir(got.Dir), name)
		assert.Regexp(t, "^"+name+"-"+regexp.QuoteMeta(got.Version)+"-[0-9a-f]{10}$", filepath.Base(got.Dir))
	}
}

func TestFindUnknownTool(t *testing.T) {
	_, err := Find(checkout.Checkout{}, "docker")
	require.ErrorContains(t, err, "unknown tool docker")
}

// Kubernetes publishes its staging modules as v0 with its own minor and patch version, and its module does not require
// these versions.
func TestKubernetesStagingModulesHaveTheVersionOfKubernetes(t *testing.T) {
	co, err := checkout.Find(".")
	require.NoError(t, err)
	for _, name := range []string{Kubernetes, OldestKubernetes} {
		kubernetes, err := Find(co, name)
		require.NoError(t, err)
		goMod, err := os.ReadFile(co.Source("tools", name, "go.mod"))
		require.NoError(t, err)

		want := regexp.MustCompile(`^v1`).ReplaceAllString(kubernetes.Version, "v0")
		replacements := regexp.MustCompile(`(?m)^\s*(?:replace )?(k8s\.io/\S+) => k8s\.io/\S+ (\S+)$`).FindAllStringSubmatch(string(goMod), -1)
		require.NotEmpty(t, replacements)
		for _, replacement := range replacements {
			assert.Equal(t, want, replacement[2], "%s: %s", name, replacement[1])
		}
	}
}

// The documents promise no release that is older than what make test-oldest runs.
func TestOldestKubernetesIsDocumented(t *testing.T) {
	co, err := checkout.Find(".")
	require.NoError(t, err)
	kubernetes, err := Find(co, OldestKubernetes)
	require.NoError(t, err)
	major, minor := majorMinor(kubernetes.Version)
	for _, document := range []string{"README.md", "deploy/README.md"} {
		text, err := os.ReadFile(filepath.Join(co.Root, document))
		require.NoError(t, err)
		assert.Contains(t, string(text), "Kubernetes "+major+"."+minor+" or newer", document)
	}
}

// crane, with which users inspect images, and this module, which pushes them, use the same library.
func TestCraneHasTheVersionOfGoContainerregistry(t *testing.T) {
	co, err := checkout.Find(".")
	require.NoError(t, err)
	goMod, err := os.ReadFile(co.Source("go.mod"))
	require.NoError(t, err)
	crane, err := Find(co, "crane")
	require.NoError(t, err)
	assert.Equal(t, requiredVersion(string(goMod), "github.com/google/go-containerregistry"), crane.Version)
}

func TestNewToolDirDependsOnThePin(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	source := filepath.Join(root, "test", "cluster", "tools", "a")
	require.NoError(t, os.MkdirAll(source, 0o755))
	co := checkout.Checkout{Root: root, Cache: "/cache"}
	dir := func(goSum string, flags ...string) string {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(source, "go.mod"), []byte("require example.com/a v1.2.3\n"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(source, "go.sum"), []byte(goSum), 0o644))
		got, err := newTool(co, definition{name: "a", module: "example.com/a", versionFlags: func(string) []string { return flags }})
		require.NoError(t, err)
		return got.Dir
	}
	want := dir("one")
	assert.Equal(t, want, dir("one"), "the same pin")
	assert.NotEqual(t, want, dir("two"), "another go.sum")
	assert.NotEqual(t, want, dir("one", "a.version=v1.2.3"), "other linker flags")
}

func TestNewToolWithoutThePin(t *testing.T) {
	root := t.TempDir()
	source := filepath.Join(root, "test", "cluster", "tools", "a")
	require.NoError(t, os.MkdirAll(source, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(source, "go.mod"), []byte("module a\n"), 0o644))
	_, err := newTool(checkout.Checkout{Root: root}, definition{name: "a", module: "example.com/a"})
	require.ErrorContains(t, err, "does not require example.com/a; restore it from git")
}
