package lineage_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lineage"
	"github.com/modelkiln/modelkiln/internal/text"
)

// data returns the fact of an origin that the model was trained with some data.
func data(origin v1alpha1.LineageOrigin, uri string) v1alpha1.LineageFact {
	return v1alpha1.LineageFact{Origin: origin, Kind: v1alpha1.DatasetFact, URI: uri}
}

func TestOwn(t *testing.T) {
	declared, observed := data(v1alpha1.DeclaredFact, "s3://a"), data(v1alpha1.ObservedFact, "s3://a")
	for name, tt := range map[string]struct {
		facts, want []v1alpha1.LineageFact
	}{
		"none":                     {nil, nil},
		"declared before observed": {[]v1alpha1.LineageFact{observed, declared}, []v1alpha1.LineageFact{declared, observed}},
		"observed ones by kind and name": {
			[]v1alpha1.LineageFact{
				{Origin: v1alpha1.ObservedFact, Kind: v1alpha1.BaseModelFact, Name: "a"}, {Origin: v1alpha1.ObservedFact, Kind: v1alpha1.ImageFact, Name: "c"},
				{Origin: v1alpha1.ObservedFact, Kind: v1alpha1.ImageFact, Name: "b"}, {Origin: v1alpha1.ObservedFact, Kind: v1alpha1.WorkloadFact, Name: "d"},
			},
			[]v1alpha1.LineageFact{
				{Origin: v1alpha1.ObservedFact, Kind: v1alpha1.WorkloadFact, Name: "d"}, {Origin: v1alpha1.ObservedFact, Kind: v1alpha1.BaseModelFact, Name: "a"},
				{Origin: v1alpha1.ObservedFact, Kind: v1alpha1.ImageFact, Name: "b"}, {Origin: v1alpha1.ObservedFact, Kind: v1alpha1.ImageFact, Name: "c"},
			},
		},
		"none of files":                     {[]v1alpha1.LineageFact{data(v1alpha1.FileFact, "s3://a")}, nil},
		"none of an unknown origin or kind": {[]v1alpha1.LineageFact{data("Other", "s3://a"), {Origin: v1alpha1.DeclaredFact, Kind: "Other", Name: "a"}}, nil},
		"none that states nothing":          {[]v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.DatasetFact, Source: "spec.lineage"}}, nil},
		"one of several sources": {[]v1alpha1.LineageFact{
			{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.DatasetFact, URI: "s3://a", Source: "spec.lineage"},
			{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.DatasetFact, URI: "s3://a", Source: "Job train"},
		}, []v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.DatasetFact, URI: "s3://a", Source: "spec.lineage"}}},
		"contradictions are found later": {[]v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.RunFact, Name: "a", Contradicts: "b"}}, []v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.RunFact, Name: "a"}}},
		"control characters": {
			[]v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.ParameterFact, Name: "a\x1b[2J\x00b", Value: "c\u202ed\n e"}},
			[]v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.ParameterFact, Name: "a [2J b", Value: "c d e"}},
		},
		"a digest that is none": {
			[]v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.DatasetFact, Name: "a", Digest: "sha256:" + strings.Repeat("a", 257)}},
			[]v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.DatasetFact, Name: "a"}},
		},
		"a password":               {[]v1alpha1.LineageFact{data(v1alpha1.DeclaredFact, "git+https://bot:pass@word@git.example.com/acme/train@v7")}, []v1alpha1.LineageFact{data(v1alpha1.DeclaredFact, "git+https://git.example.com/acme/train@v7")}},
		"a password of a database": {[]v1alpha1.LineageFact{data(v1alpha1.DeclaredFact, "jdbc:postgresql://ann:secret@db.example.com/faces")}, []v1alpha1.LineageFact{data(v1alpha1.DeclaredFact, "jdbc:postgresql://db.example.com/faces")}},
		"passwords in other texts": {
			[]v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.MetricFact, Name: "https://ann:secret@huggingface.co/acme/base", Value: "see http://ann:secret@a and ftp://bob:secret@b", Dataset: "s3://key:secret@data"}},
			[]v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.MetricFact, Name: "https://huggingface.co/acme/base", Value: "see http://a and ftp://b", Dataset: "s3://data"}},
		},
		"an address in a text": {
			[]v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.ParameterFact, Name: "contact", Value: "https://example.com ann@example.com"}},
			[]v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.ParameterFact, Name: "contact", Value: "https://example.com ann@example.com"}},
		},
		"a revision of a repository without an owner": {[]v1alpha1.LineageFact{data(v1alpha1.DeclaredFact, "hf://gpt2@607a30d")}, []v1alpha1.LineageFact{data(v1alpha1.DeclaredFact, "hf://gpt2@607a30d")}},
		"a revision is no user":                       {[]v1alpha1.LineageFact{data(v1alpha1.DeclaredFact, "hf://meta-llama/Llama@0e9e39f")}, []v1alpha1.LineageFact{data(v1alpha1.DeclaredFact, "hf://meta-llama/Llama@0e9e39f")}},
	} {
		t.Run(name, func(t *testing.T) {
			own, omitted := lineage.Own(tt.facts)
			assert.Equal(t, tt.want, own)
			assert.Zero(t, omitted)
		})
	}
}

func TestOwnLimits(t *testing.T) {
	many := func(origin v1alpha1.LineageOrigin, n, length int) []v1alpha1.LineageFact {
		var facts []v1alpha1.LineageFact
		for i := range n {
			facts = append(facts, data(origin, fmt.Sprintf("s3://%d/%s", i, strings.Repeat("模", length))))
		}
		return facts
	}
	const declared, observed = v1alpha1.DeclaredFact, v1alpha1.ObservedFact
	for name, tt := range map[string]struct {
		facts                      []v1alpha1.LineageFact
		wantDeclared, wantObserved int
	}{
		"as many as fit":    {append(many(declared, 128, 0), many(observed, 32, 0)...), 128, 32},
		"ten thousand":      {append(many(declared, 10_000, 0), many(observed, 10_000, 0)...), 128, 32},
		"long ones":         {append(many(declared, 100, 1000), many(observed, 100, 1000)...), 10, 5},
		"one of a megabyte": {many(declared, 1, 1<<20), 1, 0},
		"what is declared leaves out nothing that is observed": {append(many(declared, 10_000, 1000), many(observed, 1, 0)...), 10, 1},
	} {
		t.Run(name, func(t *testing.T) {
			own, omitted := lineage.Own(tt.facts)
			assert.Len(t, lineage.OfOrigin(own, declared), tt.wantDeclared)
			assert.Len(t, lineage.OfOrigin(own, observed), tt.wantObserved)
			assert.Equal(t, len(tt.facts), len(own)+int(omitted))
			raw, err := json.Marshal(own)
			require.NoError(t, err)
			assert.LessOrEqual(t, len(raw), 24<<10)
			for _, fact := range own {
				assert.LessOrEqual(t, utf8.RuneCountInString(fact.URI), 512)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	forged := []v1alpha1.LineageFact{data(v1alpha1.ObservedFact, "s3://forged"), data(v1alpha1.FileFact, "s3://a"), data(v1alpha1.DeclaredFact, "s3://forged")}
	files, omitted := lineage.Files(forged)
	assert.Equal(t, []v1alpha1.LineageFact{data(v1alpha1.FileFact, "s3://a")}, files)
	assert.Zero(t, omitted)

	var many []v1alpha1.LineageFact
	for i := range 50 {
		many = append(many, data(v1alpha1.FileFact, fmt.Sprint(i)))
	}
	files, omitted = lineage.Files(many)
	assert.Len(t, files, 48)
	assert.EqualValues(t, 2, omitted)
}

func TestEncode(t *testing.T) {
	for name, facts := range map[string][]v1alpha1.LineageFact{
		"none": nil,
		"an expression of Argo, a variable of Kubernetes, and other writing": {
			{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.ParameterFact, Name: "{{workflow.uid}} $(id) `id`", Value: "模型 <&>"},
			data(v1alpha1.ObservedFact, "s3://a"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			argument := lineage.Encode(facts)
			assert.Equal(t, len(facts) == 0, argument == "")
			assert.False(t, strings.ContainsAny(argument, "{}$`\"'\n <&"), argument)
			got, err := lineage.Decode(argument)
			require.NoError(t, err)
			assert.Equal(t, facts, got)
		})
	}
}

func TestDecode(t *testing.T) {
	for name, tt := range map[string]struct{ argument, want string }{
		"too long":    {strings.Repeat("a", 1<<20), "bytes"},
		"not escaped": {"%zz", "unescape the lineage"},
		"not JSON":    {"facts", "decode the lineage"},
		"no list":     {url.QueryEscape(`{"facts":[]}`), "decode the lineage"},
	} {
		t.Run(name, func(t *testing.T) {
			facts, err := lineage.Decode(tt.argument)
			assert.Empty(t, facts)
			assert.ErrorContains(t, err, tt.want)
		})
	}
	t.Run("facts that nobody can declare or observe", func(t *testing.T) {
		facts, err := lineage.Decode(lineage.Encode([]v1alpha1.LineageFact{data(v1alpha1.FileFact, "a"), data("Other", "b"), data(v1alpha1.DeclaredFact, "c")}))
		require.NoError(t, err)
		assert.Equal(t, []v1alpha1.LineageFact{data(v1alpha1.DeclaredFact, "c")}, facts)
	})
	t.Run("the longest argument", func(t *testing.T) {
		var facts []v1alpha1.LineageFact
		for i := range 1000 {
			facts = append(facts, data(v1alpha1.DeclaredFact, fmt.Sprint(i, strings.Repeat("模", 500))), data(v1alpha1.ObservedFact, fmt.Sprint(i, strings.Repeat("模", 500))))
		}
		own, _ := lineage.Own(facts)
		got, err := lineage.Decode(lineage.Encode(own))
		require.NoError(t, err)
		assert.Equal(t, own, got)
	})
}

// Whatever an argument holds, its facts are bounded and can be printed, and an argument
// of them holds the same.
func FuzzDecode(f *testing.F) {
	f.Add("")
	f.Add(lineage.Encode([]v1alpha1.LineageFact{data(v1alpha1.DeclaredFact, "s3://a"), {Origin: v1alpha1.ObservedFact, Kind: v1alpha1.ImageFact, Name: "a\u202eb", Digest: "sha256:0a"}}))
	f.Add(url.QueryEscape(`[{"origin":"Declared","kind":"Run","uri":"https://a:b@c/d"}]`))
	f.Add(url.QueryEscape(`[{"origin":"Declared","kind":"Run","name":"a://b@c://d@e","uri":"a://b@c://d @e","value":"hf://a://b@c"}]`))
	f.Add("%5B%7B%7D%5D")
	f.Add(url.QueryEscape(`[{"origin":"Observed","kind":"Image","name":"\u0000b"},{"origin":"Observed","kind":"Image","name":"a","uri":" https://a@b"}]`))
	f.Fuzz(func(t *testing.T, argument string) {
		facts, err := lineage.Decode(argument)
		if err != nil {
			assert.Empty(t, facts)
			return
		}
		assert.LessOrEqual(t, len(facts), 128+32)
		for _, fact := range facts {
			for _, s := range []string{fact.Name, fact.URI, fact.Digest, fact.Value, fact.Dataset, fact.Source} {
				assert.Equal(t, text.Printable(s), s)
				assert.LessOrEqual(t, utf8.RuneCountInString(s), 512)
			}
			assert.Empty(t, fact.Contradicts)
		}
		again, err := lineage.Decode(lineage.Encode(facts))
		require.NoError(t, err)
		assert.Equal(t, facts, again)
	})
}
