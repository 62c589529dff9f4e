package lineage_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lineage"
)

func TestDeclared(t *testing.T) {
	declared := func(fact v1alpha1.LineageFact) []v1alpha1.LineageFact {
		fact.Origin, fact.Source = v1alpha1.DeclaredFact, "spec.lineage"
		return []v1alpha1.LineageFact{fact}
	}
	for name, tt := range map[string]struct {
		lineage *v1alpha1.Lineage
		want    []v1alpha1.LineageFact
	}{
		"none":    {nil, nil},
		"nothing": {&v1alpha1.Lineage{}, nil},
		"a dataset": {
			&v1alpha1.Lineage{Datasets: []v1alpha1.Resource{{Name: "faces", URI: "s3://data/faces/v3", Digest: map[string]v1alpha1.LineageText{"md5": "1", "sha256": "2"}}}},
			declared(v1alpha1.LineageFact{Kind: v1alpha1.DatasetFact, Name: "faces", URI: "s3://data/faces/v3", Digest: "sha256:2"}),
		},
		"code": {
			&v1alpha1.Lineage{Code: []v1alpha1.Resource{{URI: "git+https://github.com/acme/train", Digest: map[string]v1alpha1.LineageText{"gitTree": "2", "gitCommit": "1a2b"}}}},
			declared(v1alpha1.LineageFact{Kind: v1alpha1.CodeFact, URI: "git+https://github.com/acme/train", Digest: "gitCommit:1a2b"}),
		},
		"a ModelVersion as base": {
			&v1alpha1.Lineage{BaseModels: []v1alpha1.BaseModel{{ModelVersion: "mv-2"}}},
			declared(v1alpha1.LineageFact{Kind: v1alpha1.BaseModelFact, Name: "ModelVersion mv-2"}),
		},
		"another base": {
			&v1alpha1.Lineage{BaseModels: []v1alpha1.BaseModel{{Name: "Llama", URI: "hf://meta-llama/Llama-3.1-8B"}}},
			declared(v1alpha1.LineageFact{Kind: v1alpha1.BaseModelFact, Name: "Llama", URI: "hf://meta-llama/Llama-3.1-8B"}),
		},
		"a run": {
			&v1alpha1.Lineage{Run: &v1alpha1.Resource{URI: "https://wandb.ai/acme/r/runs/x1"}},
			declared(v1alpha1.LineageFact{Kind: v1alpha1.RunFact, URI: "https://wandb.ai/acme/r/runs/x1"}),
		},
		"a metric": {
			&v1alpha1.Lineage{Metrics: []v1alpha1.Metric{{Name: "accuracy", Value: "0.913", Dataset: "faces-test"}}},
			declared(v1alpha1.LineageFact{Kind: v1alpha1.MetricFact, Name: "accuracy", Value: "0.913", Dataset: "faces-test"}),
		},
		"parameters in the order of their names": {
			&v1alpha1.Lineage{Parameters: map[string]v1alpha1.LineageText{"rate": "3e-4", "epochs": "3"}},
			append(declared(v1alpha1.LineageFact{Kind: v1alpha1.ParameterFact, Name: "epochs", Value: "3"}), declared(v1alpha1.LineageFact{Kind: v1alpha1.ParameterFact, Name: "rate", Value: "3e-4"})...),
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, lineage.Declared(tt.lineage, "spec.lineage"))
		})
	}
}

// The author of a model card can give a base model any name.
func TestVersionOf(t *testing.T) {
	for name, tt := range map[string]struct {
		origin v1alpha1.LineageOrigin
		kind   v1alpha1.LineageKind
		name   string
		want   string
	}{
		"declared":      {v1alpha1.DeclaredFact, v1alpha1.BaseModelFact, "ModelVersion mv-2", "mv-2"},
		"observed":      {v1alpha1.ObservedFact, v1alpha1.BaseModelFact, "ModelVersion mv-2", "mv-2"},
		"in a file":     {v1alpha1.FileFact, v1alpha1.BaseModelFact, "ModelVersion mv-2", ""},
		"another model": {v1alpha1.DeclaredFact, v1alpha1.BaseModelFact, "acme/base", ""},
		"no base model": {v1alpha1.DeclaredFact, v1alpha1.DatasetFact, "ModelVersion mv-2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, found := lineage.VersionOf(v1alpha1.LineageFact{Origin: tt.origin, Kind: tt.kind, Name: tt.name})
			assert.Equal(t, tt.want != "", found)
			if found {
				assert.Equal(t, tt.want, got)
			}
		})
	}
}
