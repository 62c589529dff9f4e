package chart

import (
	"encoding/json"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/inject"
)

var (
	quantity    = reflect.TypeFor[resource.Quantity]()
	unmarshaler = reflect.TypeFor[json.Unmarshaler]()
)

// choices are the values that the operator accepts for types of its configuration, and ""
// where it has the meaning of the default. YAML reads Off without quotes as false.
var choices = map[reflect.Type][]any{
	reflect.TypeFor[v1alpha1.BuildEngine]():     {v1alpha1.Kaniko, v1alpha1.Stream},
	reflect.TypeFor[v1alpha1.FileDigests]():     {v1alpha1.RecordFileDigests, v1alpha1.SkipFileDigests, ""},
	reflect.TypeFor[v1alpha1.SignatureFormat](): {v1alpha1.BundleSignature, v1alpha1.TagSignature},
	reflect.TypeFor[v1alpha1.Attestation]():     {v1alpha1.ProvenanceAttestation, v1alpha1.FilesAttestation},
	reflect.TypeFor[inject.ServingMount]():      {inject.ServingAuto, inject.ServingImageVolume, inject.ServingInitContainer},
	reflect.TypeFor[inject.VerificationMode]():  {inject.VerificationOff, inject.VerificationWarn, inject.VerificationRequire, false, ""},
}

// withConfigSchema replaces the property config in the schema of the chart's values by
// that of the operator's configuration, so that Helm refuses the typos that the operator
// would refuse when it starts.
func withConfigSchema(schema []byte) ([]byte, error) {
	var all map[string]any
	if err := json.Unmarshal(schema, &all); err != nil {
		return nil, err
	}
	all["properties"].(map[string]any)["config"] = schemaOf(reflect.TypeFor[config.Config]())
	out, err := json.MarshalIndent(all, "", "  ")
	return append(out, '\n'), err
}

// schemaOf returns the JSON schema of a type of the configuration.
func schemaOf(t reflect.Type) map[string]any {
	if t == quantity {
		return map[string]any{"type": []string{"string", "number"}}
	}
	if values, ok := choices[t]; ok {
		return map[string]any{"enum": values}
	}
	// Such as a CEL expression.
	if reflect.PointerTo(t).Implements(unmarshaler) {
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Struct:
		properties := map[string]any{}
		for _, field := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			properties[name] = schemaOf(field.Type)
		}
		return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	default:
		return map[string]any{"type": "integer"}
	}
}
