package cluster

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
	"github.com/modelkiln/modelkiln/test/cluster/internal/tool"
)

func pinnedVersion(t *testing.T, here checkout.Checkout, name string) string {
	t.Helper()
	found, err := tool.Find(here, name)
	require.NoError(t, err)
	return found.Version
}

// The names of the node's images, as one reference or as an entry of kustomize's images.
var (
	oneWord  = regexp.MustCompile(`modelkiln\.test/[\w-]+:[\w.-]+`)
	newNames = regexp.MustCompile(`newName: (modelkiln\.test/[\w-]+)\n\s+newTag: ([\w.-]+)`)
)

func TestManifests_Images(t *testing.T) {
	here, err := checkout.Find(".")
	require.NoError(t, err)
	tools := map[string]tool.Tool{}
	for _, name := range tool.Names() {
		tools[name], err = tool.Find(here, name)
		require.NoError(t, err)
	}
	want := map[string]bool{image.Pause: true, image.Busybox: true}
	for _, spec := range image.NodeSpecs(tools) {
		want[spec.Name] = true
	}

	found := 0
	manifests := os.DirFS(here.Source("manifests"))
	require.NoError(t, fs.WalkDir(manifests, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(manifests, path)
		if err != nil {
			return err
		}
		got := oneWord.FindAllString(string(content), -1)
		for _, match := range newNames.FindAllStringSubmatch(string(content), -1) {
			got = append(got, match[1]+":"+match[2])
		}
		for _, name := range got {
			assert.Contains(t, want, name, "%s names another version than the pinned one", path)
		}
		found += len(got)
		return nil
	}))
	assert.NotZero(t, found)
}

func TestWritePinned(t *testing.T) {
	here, err := checkout.Find(".")
	require.NoError(t, err)
	tools := map[string]tool.Tool{}
	for _, name := range tool.TrainingNames() {
		tools[name], err = tool.Find(here, name)
		require.NoError(t, err)
	}
	for i, name := range tool.TrainingNames() {
		t.Run(name, func(t *testing.T) {
			ours, err := os.ReadFile(here.Source("manifests", name, "kustomization.yaml"))
			require.NoError(t, err)
			assert.Contains(t, string(ours), "newName: modelkiln.test/"+name+"\n")

			dir := t.TempDir()
			tag := image.TrainingTag(tools[name])
			require.NoError(t, writePinned(dir, name, tag))
			pinned, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
			require.NoError(t, err)
			assert.Contains(t, string(pinned), "name: modelkiln.test/"+name+"\n    newTag: "+tag+"\n")
			assert.Equal(t, "modelkiln.test/"+name+":"+tag, image.TrainingSpecs(tools)[i].Name)
			assert.Regexp(t, `^v\d+\.\d+\.\d+-[0-9a-f]{10}$`, tag)
		})
	}
}
