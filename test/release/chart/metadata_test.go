package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// Artifact Hub shows what the chart really installs.
func TestMetadata(t *testing.T) {
	annotations := loadChart(t).Metadata.Annotations
	everything := mustRender(t, everyOption)
	parse := func(t *testing.T, name string, into any) {
		t.Helper()
		require.NoError(t, yaml.UnmarshalStrict([]byte(annotations["artifacthub.io/"+name]), into))
	}

	t.Run("images", func(t *testing.T) {
		var images []image
		parse(t, "images", &images)
		var got []string
		for _, each := range images {
			assert.NotEmpty(t, each.Name)
			got = append(got, each.Image)
		}
		config := parsedConfig(t, everything.objects[configID])
		want := map[string]bool{field(t, config, "data", "config.yaml", "baseImage").(string): true}
		for _, objects := range []objects{everything.objects, everything.tests} {
			for _, object := range objects {
				addImages(want, object)
			}
		}
		assert.ElementsMatch(t, slices.Collect(maps.Keys(want)), got)
		named, err := manifestImages(root)
		require.NoError(t, err)
		assert.ElementsMatch(t, named.All(), got, "images.txt has the same")
	})
	t.Run("crds", func(t *testing.T) {
		var crds []customResource
		parse(t, "crds", &crds)
		var got, want []string
		for _, crd := range crds {
			assert.NotContains(t, []string{crd.Kind, crd.Version, crd.DisplayName, crd.Description}, "")
			got = append(got, crd.Name)
		}
		for _, object := range everything.objects {
			if object["kind"] == "CustomResourceDefinition" {
				want = append(want, field(t, object, "metadata", "name").(string))
			}
		}
		assert.ElementsMatch(t, want, got)

		var examples []map[string]any
		parse(t, "crdsExamples", &examples)
		require.NotEmpty(t, examples)
	})
	t.Run("changes", func(t *testing.T) {
		var got []string
		parse(t, "changes", &got)
		assert.Contains(t, got, "First version, without published images: Model and ModelVersion, the engines Kaniko and Stream, training and serving pods, policies and metrics.")
	})
	assert.Equal(t, "Apache-2.0", annotations["artifacthub.io/license"])
	assert.Equal(t, "false", annotations["artifacthub.io/prerelease"])
}

// addImages adds the images of all containers in a part of an object.
func addImages(to map[string]bool, part any) {
	switch part := part.(type) {
	case map[string]any:
		if name, isString := part["image"].(string); isString {
			to[name] = true
		}
		for _, each := range part {
			addImages(to, each)
		}
	case []any:
		for _, each := range part {
			addImages(to, each)
		}
	}
}

func TestChanges(t *testing.T) {
	const changelog = `# Changelog

## Unreleased

- Not yet.

## v1.1.0

### Breaking changes

- **Flags:** ` + "`--old`" + ` is now ` + "`--new`" + `. Change it.

  | old | new |
  |---|---|

### Changes

- [Aliases](a.md#b) of v1.35 exist. More.
- Without an end

## v1.0.0

First version. It works.
`
	tests := map[string][]string{
		"v1.1.0": {"Breaking: Flags: --old is now --new.", "Aliases of v1.35 exist.", "Without an end"},
		"v1.0.0": {"First version."},
		"v0.9.0": nil,
	}
	for version, want := range tests {
		t.Run(version, func(t *testing.T) {
			assert.Equal(t, want, changes(changelog, version))
		})
	}
	assert.Len(t, changes(strings.ReplaceAll(changelog, "Unreleased", "v1.2.0"), "v1.2.0"), 1)
}
