package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// plugin has the fields of a Krew manifest that this one uses
// (https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/).
type plugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string     `json:"version"`
		Homepage         string     `json:"homepage"`
		ShortDescription string     `json:"shortDescription"`
		Description      string     `json:"description"`
		Platforms        []platform `json:"platforms"`
	} `json:"spec"`
}

type platform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

// render renders the manifest for a release as krew-release-bot does: the function adds
// two lines, the second one with the indentation of the list
// (https://github.com/rajatjindal/krew-release-bot).
func render(t *testing.T, tag string) plugin {
	t.Helper()
	raw, err := os.ReadFile("krew.yaml")
	require.NoError(t, err)
	addURIAndSha := func(uri, tag string) string {
		uri = strings.ReplaceAll(uri, "{{ .TagName }}", tag)
		return fmt.Sprintf("uri: %s\n    sha256: %s", uri, strings.Repeat("ab", 32))
	}
	parsed, err := template.New("krew").Funcs(template.FuncMap{"addURIAndSha": addURIAndSha}).Parse(string(raw))
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, parsed.Execute(&out, map[string]string{"TagName": tag}))
	var manifest plugin
	require.NoError(t, yaml.UnmarshalStrict(out.Bytes(), &manifest), out.String())
	return manifest
}

func TestKrew(t *testing.T) {
	manifest := render(t, "v0.2.0")
	assert.Equal(t, "krew.googlecontainertools.github.com/v1alpha2", manifest.APIVersion)
	assert.Equal(t, "Plugin", manifest.Kind)
	assert.Equal(t, "kiln", manifest.Metadata.Name)
	assert.Equal(t, "v0.2.0", manifest.Spec.Version)
	assert.LessOrEqual(t, len(manifest.Spec.ShortDescription), 50, "Krew's naming guide")
	assert.NotEmpty(t, manifest.Spec.Description)
	document := strings.TrimPrefix(manifest.Spec.Homepage, "https://github.com/modelkiln/modelkiln/blob/main/")
	assert.FileExists(t, "../../"+document)
	seen := map[string]bool{}
	for _, p := range manifest.Spec.Platforms {
		system, arch := p.Selector.MatchLabels["os"], p.Selector.MatchLabels["arch"]
		seen[system+"/"+arch] = true
		assert.Equal(t, fmt.Sprintf("https://github.com/modelkiln/modelkiln/releases/download/v0.2.0/kubectl-kiln_%s_%s.tar.gz", system, arch), p.URI)
		assert.Len(t, p.SHA256, 64)
		assert.Equal(t, "kubectl-kiln", p.Bin)
	}
	assert.Equal(t, map[string]bool{"linux/amd64": true, "linux/arm64": true, "darwin/amd64": true, "darwin/arm64": true}, seen)
}
