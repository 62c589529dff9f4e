package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// previousCRDs are the CRDs of the previous release.
const previousCRDs = "testdata/previous/crd"

// reviewedRules are the fields whose CEL rules differ from those of the previous
// release, and why what was valid is valid. A new rule of a new field needs no entry.
var reviewedRules = map[string]string{
	"modelversions":                      "the new rule is about spec.lineage, which is new",
	"modelversions.spec":                 "the new rules are about storage.image, which is new",
	"modelversions.spec.storage":         "exactly one of the kinds, of which s3, huggingFace and image are new",
	"modelversions.spec.build.modelPath": "/source-secret is where builds now mount a Secret: an image with a model there was never built by a release",
}

// make verify compares everything else, with crdify.
func TestCRDCompatibility(t *testing.T) {
	var changed []string
	for _, plural := range []string{"models", "modelversions"} {
		file := "model.kubedl.io_" + plural + ".yaml"
		before, now := fieldRules(t, filepath.Join(previousCRDs, file), plural), fieldRules(t, filepath.Join(modelkilnCRDs, file), plural)
		for field, rules := range now {
			known, exists := before[field]
			if exists && slices.ContainsFunc(rules, func(rule string) bool { return !slices.Contains(known, rule) }) {
				changed = append(changed, field)
			}
		}
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(reviewedRules)), changed, "does each rule admit what the previous release admitted? List the field with the reason, and an incompatible change in CHANGELOG.md")
}

// fieldRules returns the rules of each field of a CRD that are not a bound, a type or
// an enumeration, by the path of the field.
func fieldRules(t *testing.T, file, root string) map[string][]string {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	var crd apiextensionsv1.CustomResourceDefinition
	require.NoError(t, yaml.UnmarshalStrict(raw, &crd))
	all := map[string][]string{}
	for _, version := range crd.Spec.Versions {
		addFieldRules(t, version.Schema.OpenAPIV3Schema, root, all)
	}
	require.NotEmpty(t, all)
	return all
}

func addFieldRules(t *testing.T, field *apiextensionsv1.JSONSchemaProps, path string, all map[string][]string) {
	t.Helper()
	if field == nil {
		return
	}
	all[path] = []string{}
	for _, validation := range field.XValidations {
		all[path] = append(all[path], validation.Rule)
	}
	for _, other := range []any{field.Format, field.AllOf, field.AnyOf, field.OneOf, field.Not} {
		raw, err := json.Marshal(other)
		require.NoError(t, err)
		if text := string(raw); text != `""` && text != "null" {
			all[path] = append(all[path], fmt.Sprintf("%T %s", other, text))
		}
	}
	for name, property := range field.Properties {
		addFieldRules(t, &property, path+"."+name, all)
	}
	if field.Items != nil {
		addFieldRules(t, field.Items.Schema, path+"[]", all)
	}
	if field.AdditionalProperties != nil {
		addFieldRules(t, field.AdditionalProperties.Schema, path+"{}", all)
	}
}
