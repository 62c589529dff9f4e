package cluster

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
)

var documentedKustomization = regexp.MustCompile("(?s)```yaml\n(# kustomization\\.yaml\n.*?)```")

// Users copy the kustomizations from the documentation.
func TestDocumentedKustomizationsBuild(t *testing.T) {
	here, err := checkout.Find(".")
	require.NoError(t, err)
	files := map[string]string{
		"config.yaml": filepath.Join(here.Root, "deploy", "manager", "config.yaml"),
		"scan.yaml":   filepath.Join(here.Root, "workflow-templates", "examples", "scan.yaml"),
	}
	tests := map[string]string{
		"README.md":                    "image: registry.example.com/modelkiln/modelkiln:v0.1.0",
		"deploy/README.md":             "image: registry.example.com/modelkiln/modelkiln:v0.1.0",
		"workflow-templates/README.md": "name: modelkiln-build-scanned",
	}
	for document, want := range tests {
		t.Run(document, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(here.Root, document))
			require.NoError(t, err)
			block := documentedKustomization.FindSubmatch(text)
			require.NotNil(t, block)

			dir, err := filepath.EvalSymlinks(t.TempDir())
			require.NoError(t, err)
			root, err := filepath.Rel(dir, here.Root)
			require.NoError(t, err)
			for name, source := range files {
				content, err := os.ReadFile(source)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
			}
			local := strings.NewReplacer("- github.com/modelkiln/modelkiln/", "- "+root+"/", "- ../modelkiln/", "- "+root+"/", "?ref=v0.1.0", "").Replace(string(block[1]))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(local), 0o600))

			resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
			require.NoError(t, err)
			rendered, err := resources.AsYaml()
			require.NoError(t, err)
			assert.Contains(t, string(rendered), want)
			assert.NotContains(t, string(rendered), "image: ghcr.io/modelkiln/", "the documented kustomization replaces the images")
		})
	}
}
