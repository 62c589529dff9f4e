package step

import (
	"cmp"
	"io"
	"strings"
	"time"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lineage"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/internal/step/console"
)

// facts returns what was declared and observed about the making of the model, and what its
// files state. Facts that cannot be decoded are no reason to fail the build.
func (s *signing) facts(r report.Report, log io.Writer) []v1alpha1.LineageFact {
	own, err := lineage.Decode(s.lineage)
	if err != nil {
		console.Logf(log, "what was declared and observed about the model is not attested: %v", err)
	}
	files, _ := lineage.Files(r.Lineage)
	return append(own, files...)
}

// training returns the bundle that attests from what the model was made. It says nothing
// about this build, so that other builds of the same image attest the same.
func (s *signing) training(key *sign.Key, of signed, facts []v1alpha1.LineageFact) ([]byte, error) {
	t := sign.Training{BuilderID: s.builder(), Omitted: of.report.LineageOmitted}
	for _, fact := range facts {
		s.addTo(&t, fact)
	}
	if of.listed {
		t.Files, t.Model = &of.files, of.modelName()
	}
	return key.SignTraining(of.image, t)
}

// addTo adds a fact to a provenance.
func (s *signing) addTo(t *sign.Training, fact v1alpha1.LineageFact) {
	switch fact.Kind {
	case v1alpha1.ParameterFact:
		addParameter(t, fact)
	case v1alpha1.WorkloadFact:
		_, uid, _ := strings.Cut(fact.Digest, ":")
		start, end, _ := strings.Cut(fact.Value, "/")
		t.Invocation = strings.Join([]string{s.namespace, strings.ReplaceAll(fact.Name, " ", "/"), uid}, "/")
		t.Started, t.Finished = timeOf(start), timeOf(end)
	case v1alpha1.ImageFact, v1alpha1.BaseModelFact, v1alpha1.DatasetFact, v1alpha1.CodeFact:
		t.Dependencies = append(t.Dependencies, dependencyOf(fact))
	default:
		t.Byproducts = append(t.Byproducts, dependencyOf(fact))
	}
}

// addParameter adds a parameter. Each origin has its own, so that none is taken for that of
// another. Of two with one name, the first counts: that of spec.lineage.
func addParameter(t *sign.Training, fact v1alpha1.LineageFact) {
	origin := string(fact.Origin)
	if t.Parameters == nil {
		t.Parameters = map[string]map[string]string{}
	}
	if t.Parameters[origin] == nil {
		t.Parameters[origin] = map[string]string{}
	}
	if _, known := t.Parameters[origin][fact.Name]; !known {
		t.Parameters[origin][fact.Name] = fact.Value
	}
}

// dependencyOf returns a fact as a provenance describes it. Who states it is an annotation.
func dependencyOf(fact v1alpha1.LineageFact) sign.Dependency {
	d := sign.Dependency{Name: cmp.Or(fact.Name, fact.Value), URI: fact.URI, Annotations: map[string]string{}}
	if algorithm, digest, found := strings.Cut(fact.Digest, ":"); found {
		d.Digest = map[string]string{algorithm: digest}
	}
	for name, value := range map[string]string{
		"kind": string(fact.Kind), "origin": string(fact.Origin), "source": fact.Source, "value": fact.Value, "dataset": fact.Dataset,
	} {
		if value != "" {
			d.Annotations[name] = value
		}
	}
	return d
}

// timeOf returns a time, or zero for a text that is none.
func timeOf(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t
}
