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
	type facts = []v1alpha1.LineageFact
	for name, tt := range map[string]struct {
		own, files []v1alpha1.LineageFact
		aliases    map[string][]string
		// want are the contradictions of the facts in turn.
		want []string
	}{
		"none": {want: []string{}},
		"the card names another base than the pods had": {
			own:   facts{fact(observed, v1alpha1.BaseModelFact, "ModelVersion mv-2", "modelhub/resnet@sha256:51c3")},
			files: facts{base(file, "meta-llama/Llama-3.1-8B")},
			want:  []string{"File README.md: meta-llama/Llama-3.1-8B", "Observed: ModelVersion mv-2"},
		},
		"another owner of the same name": {
			own:   facts{fact(declared, v1alpha1.BaseModelFact, "", "hf://evil/Llama-3.1-8B")},
			files: facts{base(file, "meta-llama/Llama-3.1-8B")},
			want:  []string{"File README.md: meta-llama/Llama-3.1-8B", "Declared: hf://evil/Llama-3.1-8B"},
		},
		"writings of the same base": {
			own:   facts{fact(declared, v1alpha1.BaseModelFact, "", "hf://meta-llama/Llama-3.1-8B@0e9e39f")},
			files: facts{base(file, "Llama 3.1 8B"), fact(file, v1alpha1.BaseModelFact, "", "https://huggingface.co/meta-llama/Llama-3.1-8B")},
			want:  []string{"", "", ""},
		},
		"the same ModelVersion": {
			own:  facts{base(declared, "ModelVersion mv-2"), fact(observed, v1alpha1.BaseModelFact, "ModelVersion mv-2", "modelhub/resnet@sha256:51c3")},
			want: []string{"", ""},
		},
		"a card that names one of two bases": {
			own:   facts{base(declared, "acme/a"), base(declared, "acme/b")},
			files: facts{base(file, "acme/b")},
			want:  []string{"", "", ""},
		},
		"a directory of the training's container": {
			own:   facts{base(observed, "ModelVersion mv-2")},
			files: facts{base(file, "/kubedl-model"), base(file, "./base"), base(file, "../base"), base(file, "~/base")},
			want:  []string{"", "", "", "", ""},
		},
		"two bases of one origin": {own: facts{base(declared, "acme/a"), base(declared, "acme/b")}, want: []string{"", ""}},
		"another run": {
			own:   facts{fact(declared, v1alpha1.RunFact, "", "https://mlflow.example.com/#/experiments/1/runs/abc")},
			files: facts{fact(file, v1alpha1.RunFact, "def", "")},
			want:  []string{"File README.md: def", "Declared: https://mlflow.example.com/#/experiments/1/runs/abc"},
		},
		"the same run": {
			own:   facts{fact(declared, v1alpha1.RunFact, "", "https://mlflow.example.com/#/experiments/1/runs/abc")},
			files: facts{fact(file, v1alpha1.RunFact, "abc", "")},
			want:  []string{"", ""},
		},
		"the same run in a view of its tracker": {
			own:   facts{fact(declared, v1alpha1.RunFact, "", "https://wandb.ai/acme/r/runs/x1?nw=nwuserann")},
			files: facts{fact(file, v1alpha1.RunFact, "x1", "")},
			want:  []string{"", ""},
		},
		"two digests of the same data": {
			own:  facts{digest(fact(declared, v1alpha1.DatasetFact, "faces", ""), "sha256:aa"), digest(fact(observed, v1alpha1.DatasetFact, "Faces", ""), "sha256:bb")},
			want: []string{"Observed: Faces sha256:bb", "Declared: faces sha256:aa"},
		},
		"digests that say the same, or cannot be compared": {
			own:   facts{digest(fact(declared, v1alpha1.DatasetFact, "faces", ""), "sha256:aa"), digest(fact(declared, v1alpha1.DatasetFact, "cats", ""), "md5:aa"), fact(declared, v1alpha1.DatasetFact, "dogs", "")},
			files: facts{digest(fact(file, v1alpha1.DatasetFact, "faces", ""), "SHA256:AA"), digest(fact(file, v1alpha1.DatasetFact, "cats", ""), "sha256:bb"), digest(fact(file, v1alpha1.DatasetFact, "dogs", ""), "sha256:cc")},
			want:  []string{"", "", "", "", "", ""},
		},
		"other data": {own: facts{fact(declared, v1alpha1.DatasetFact, "faces", "")}, files: facts{fact(file, v1alpha1.DatasetFact, "imagenet", "")}, want: []string{"", ""}},
		"a base that is known by its repository on a hub": {
			own:     facts{fact(observed, v1alpha1.BaseModelFact, "ModelVersion mv-2", "modelhub/resnet@sha256:51c3"), base(declared, "ModelVersion mv-1")},
			files:   facts{base(file, "meta-llama/Llama-3.1-8B")},
			aliases: map[string][]string{"mv-2": {"llama", "meta-llama/Llama-3.1-8B"}},
			want:    []string{"Declared: ModelVersion mv-1", "Observed: ModelVersion mv-2", "Declared: ModelVersion mv-1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := []string{}
			for _, fact := range lineage.All(tt.own, tt.files, tt.aliases) {
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
	}, []v1alpha1.LineageFact{{Origin: v1alpha1.FileFact, Kind: v1alpha1.RunFact, Name: "b", Source: "MLmodel"}}, nil)
	assert.Equal(t, []v1alpha1.LineageFact{
		{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.RunFact, Name: "a", Contradicts: "File MLmodel: b"},
		{Origin: v1alpha1.FileFact, Kind: v1alpha1.RunFact, Name: "b", Source: "MLmodel", Contradicts: "Declared: a"},
	}, lineage.Contradictions(facts))
}
