package lifecycle

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lineage"
	"github.com/modelkiln/modelkiln/internal/text"
)

// An annotation yields either facts that were declared on this workload, or a short
// message of one line.
func FuzzAnnotatedLineage(f *testing.F) {
	for _, seed := range []string{
		"datasets: [{name: faces, uri: s3://data/faces/v3, digest: {sha256: 9f86}}]\nparameters: {rate: 3e-4}\n",
		`{"baseModels":[{"modelVersion":"mv-2"}],"run":{"uri":"https://a:b@c/d"},"metrics":[{"name":"a","value":"1"}]}`,
		"a: &a aaaaaaaaaaaaaaaa\ndatasets: [*a, *a, *a]\n",
		"code: [{uri: \"\\e[2J\\u202e\"}]", "parameters: {a: 1}", "datasets: {}", "- a", "null", "", "\x00", "!!binary a", "? {a: b}\n: c",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, annotation string) {
		job := jobWithTemplate("")
		job.SetAnnotations(map[string]string{v1alpha1.AnnotationLineage: annotation})
		facts, problem := annotatedLineage(Observed{Version: &v1alpha1.ModelVersion{}, Training: job})
		if problem != nil {
			assert.Empty(t, facts)
			assert.Equal(t, EventLineageIgnored, problem.Reason)
			assert.LessOrEqual(t, utf8.RuneCountInString(problem.Message), 2*maxSentence)
			assert.Equal(t, text.Printable(problem.Message), problem.Message)
			return
		}
		for _, fact := range facts {
			assert.Equal(t, [2]string{string(v1alpha1.DeclaredFact), "Job train"}, [2]string{string(fact.Origin), fact.Source})
		}
		own, _ := lineage.Own(facts)
		assert.LessOrEqual(t, len(own), len(facts))
	})
}
