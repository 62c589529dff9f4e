package lineage_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lineage"
)

func TestAll(t *testing.T) {
	fact := func(origin v1alpha1.LineageOrigin, kind v1alpha1.LineageKind, name, uri string) v1alpha1.LineageFact {
		fact := v1alpha1.LineageFact{Origin: origin, Kind: kind, Name: name, URI: uri}
		if origin == v1alpha1.FileFact {
			fact.Source = "README.md"
		}
		return fact
	}
	digest := func(fact v1alpha1.LineageFact, digest string) v1alpha1.LineageFact {
		fact.Digest = digest
		return fact
	}
	base := func(origin v1alpha1.LineageOrigin, name string) v1alpha1.LineageFact {
		return fact(origin, v1alpha1.BaseModelFact, name, "")
	}
	const declared, observed, file = v1alpha1.DeclaredFact, v1alpha1.ObservedFact, v1alpha1.FileFact
	for name, tt := range map[string]struct {
		own, files []v1alpha1.LineageFact
		// want are the contradictions of the facts in turn.
		want []string
	}{
		"none": {nil, nil, []string{}},
		"the card names another base than the pods had": {
			[]v1alpha1.LineageFact{fact(observed, v1alpha1.BaseModelFact, "ModelVersion mv-2", "modelhub/resnet@sha256:51c3")},
			[]v1alpha1.LineageFact{base(file, "meta-llama/Llama-3.1-8B")},
			[]string{"File README.md: meta-llama/Llama-3.1-8B", "Observed: ModelVersion mv-2"},
		},
		"another owner of the same name": {
			[]v1alpha1.LineageFact{fact(declared, v1alpha1.BaseModelFact, "", "hf://evil/Llama-3.1-8B")},
			[]v1alpha1.LineageFact{base(file, "meta-llama/Llama-3.1-8B")},
			[]string{"File README.md: meta-llama/Llama-3.1-8B", "Declared: hf://evil/Llama-3.1-8B"},
		},
		"writings of the same base": {
			[]v1alpha1.LineageFact{fact(declared, v1alpha1.BaseModelFact, "", "hf://meta-llama/Llama-3.1-8B@0e9e39f")},
			[]v1alpha1.LineageFact{base(file, "Llama 3.1 8B"), fact(file, v1alpha1.BaseModelFact, "", "https://huggingface.co/meta-llama/Llama-3.1-8B")},
			[]string{"", "", ""},
		},
		"the same ModelVersion": {
			[]v1alpha1.LineageFact{base(declared, "ModelVersion mv-2"), fact(observed, v1alpha1.BaseModelFact, "ModelVersion mv-2", "modelhub/resnet@sha256:51c3")},
			nil, []string{"", ""},
		},
		"a card that names one of two bases": {
			[]v1alpha1.LineageFact{base(declared, "acme/a"), base(declared, "acme/b")},
			[]v1alpha1.LineageFact{base(file, "acme/b")},
			[]string{"", "", ""},
		},
		"a directory of the training's container": {
			[]v1alpha1.LineageFact{base(observed, "ModelVersion mv-2")},
			[]v1alpha1.LineageFact{base(file, "/kubedl-model"), base(file, "./base"), base(file, "../base"), base(file, "~/base")},
			[]string{"", "", "", "", ""},
		},
		"two bases of one origin": {[]v1alpha1.LineageFact{base(declared, "acme/a"), base(declared, "acme/b")}, nil, []string{"", ""}},
		"another run": {
			[]v1alpha1.LineageFact{fact(declared, v1alpha1.RunFact, "", "https://mlflow.example.com/#/experiments/1/runs/abc")},
			[]v1alpha1.LineageFact{fact(file, v1alpha1.RunFact, "def", "")},
			[]string{"File README.md: def", "Declared: https://mlflow.example.com/#/experiments/1/runs/abc"},
		},
		"the same run": {
			[]v1alpha1.LineageFact{fact(declared, v1alpha1.RunFact, "", "https://mlflow.example.com/#/experiments/1/runs/abc")},
			[]v1alpha1.LineageFact{fact(file, v1alpha1.RunFact, "abc", "")},
			[]string{"", ""},
		},
		"two digests of the same data": {
			[]v1alpha1.LineageFact{digest(fact(declared, v1alpha1.DatasetFact, "faces", ""), "sha256:aa"), digest(fact(observed, v1alpha1.DatasetFact, "Faces", ""), "sha256:bb")},
			nil, []string{"Observed: Faces sha256:bb", "Declared: faces sha256:aa"},
		},
		"digests that say the same, or cannot be compared": {
			[]v1alpha1.LineageFact{digest(fact(declared, v1alpha1.DatasetFact, "faces", ""), "sha256:aa"), digest(fact(declared, v1alpha1.DatasetFact, "cats", ""), "md5:aa"), fact(declared, v1alpha1.DatasetFact, "dogs", "")},
			[]v1alpha1.LineageFact{digest(fact(file, v1alpha1.DatasetFact, "faces", ""), "SHA256:AA"), digest(fact(file, v1alpha1.DatasetFact, "cats", ""), "sha256:bb"), digest(fact(file, v1alpha1.DatasetFact, "dogs", ""), "sha256:cc")},
			[]string{"", "", "", "", "", ""},
		},
		"other data": {[]v1alpha1.LineageFact{fact(declared, v1alpha1.DatasetFact, "faces", "")}, []v1alpha1.LineageFact{fact(file, v1alpha1.DatasetFact, "imagenet", "")}, []string{"", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			got := []string{}
			for _, fact := range lineage.All(tt.own, tt.files) {
				got = append(got, fact.Contradicts)
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestContradictions(t *testing.T) {
	facts := lineage.All([]v1alpha1.LineageFact{
		{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.DatasetFact, Name: "faces"},
		{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.RunFact, Name: "a"},
	}, []v1alpha1.LineageFact{{Origin: v1alpha1.FileFact, Kind: v1alpha1.RunFact, Name: "b", Source: "MLmodel"}})
	assert.Equal(t, []v1alpha1.LineageFact{
		{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.RunFact, Name: "a", Contradicts: "File MLmodel: b"},
		{Origin: v1alpha1.FileFact, Kind: v1alpha1.RunFact, Name: "b", Source: "MLmodel", Contradicts: "Declared: a"},
	}, lineage.Contradictions(facts))
}
