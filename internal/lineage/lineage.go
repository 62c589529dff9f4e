// Package lineage turns what is known about the making of a model into facts: what users
// declare, what the operator observes and what the files of the model state. Facts have
// others' texts, so all of them are cleaned and bounded. The package is pure.
package lineage

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/text"
)

// The limits of facts: their number, and the bytes that they have as JSON. Those that are
// declared or observed are an argument of a Workflow, those of files are a part of its
// report, and all together are a part of a status. Each origin has its own, so that none
// can leave out what another states.
const (
	maxDeclared, maxDeclaredBytes = 128, 16 << 10
	maxObserved, maxObservedBytes = 32, 8 << 10
	maxFile, maxFileBytes         = 48, 16 << 10
)

// The limits of the texts of a fact, in characters. The API has the same.
const (
	maxText   = 256
	maxURI    = 512
	maxDigest = 300
	maxReason = 512
)

// kinds are the kinds of facts, in the order in which observed facts are listed.
var kinds = []v1alpha1.LineageKind{
	v1alpha1.WorkloadFact, v1alpha1.BaseModelFact, v1alpha1.DatasetFact, v1alpha1.ImageFact, v1alpha1.CodeFact,
	v1alpha1.RunFact, v1alpha1.ParameterFact, v1alpha1.MetricFact, v1alpha1.LicenseFact, v1alpha1.PropertyFact,
}

// Own returns those of the facts that are declared, in their order, and those that are
// observed, by kind and name, whatever the order in which they were observed. They are
// cleaned, and have no duplicates. Omitted is the number of those beyond the limits.
func Own(facts []v1alpha1.LineageFact) (own []v1alpha1.LineageFact, omitted int64) {
	observed := cleaned(facts, v1alpha1.ObservedFact)
	slices.SortStableFunc(observed, func(a, b v1alpha1.LineageFact) int {
		return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.URI, b.URI))
	})
	own, omitted = bounded(cleaned(facts, v1alpha1.DeclaredFact), maxDeclared, maxDeclaredBytes)
	observed, more := bounded(observed, maxObserved, maxObservedBytes)
	return append(own, observed...), omitted + more
}

// Files returns those of the facts that are stated by files, cleaned and without
// duplicates. Omitted is the number of those beyond the limits.
func Files(facts []v1alpha1.LineageFact) (files []v1alpha1.LineageFact, omitted int64) {
	return bounded(cleaned(facts, v1alpha1.FileFact), maxFile, maxFileBytes)
}

// OfOrigin returns the facts of one origin.
func OfOrigin(facts []v1alpha1.LineageFact, origin v1alpha1.LineageOrigin) []v1alpha1.LineageFact {
	var found []v1alpha1.LineageFact
	for _, fact := range facts {
		if fact.Origin == origin {
			found = append(found, fact)
		}
	}
	return found
}

// cleaned returns the facts of one origin, cleaned.
func cleaned(facts []v1alpha1.LineageFact, origin v1alpha1.LineageOrigin) []v1alpha1.LineageFact {
	found := OfOrigin(facts, origin)
	for i := range found {
		found[i] = clean(found[i])
	}
	return found
}

// bounded returns the first of the facts that are within these limits, without duplicates.
// Facts that differ in their source only are duplicates.
func bounded(facts []v1alpha1.LineageFact, maxFacts, maxBytes int) (kept []v1alpha1.LineageFact, omitted int64) {
	seen := map[v1alpha1.LineageFact]bool{}
	size := 0
	for _, fact := range facts {
		key := fact
		key.Source = ""
		if isEmpty(fact) || seen[key] {
			continue
		}
		seen[key] = true
		size += jsonSize(fact)
		if omitted > 0 || len(kept) == maxFacts || size > maxBytes {
			omitted++
			continue
		}
		kept = append(kept, fact)
	}
	return kept, omitted
}

// isEmpty reports whether a fact states nothing, or is of a kind that the API does not have.
func isEmpty(fact v1alpha1.LineageFact) bool {
	return !slices.Contains(kinds, fact.Kind) || fact.Name+fact.URI+fact.Digest+fact.Value == ""
}

// digest matches "ALGORITHM:DIGEST".
var digest = regexp.MustCompile(`\A[A-Za-z0-9_]{1,32}:[0-9A-Za-z+/=_-]{1,256}\z`)

// These match the scheme of a URI with the user and the password that follow it: a text that
// is a URI, and one in which there is one.
var (
	uriCredentials  = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*)://[^/?#]*@`)
	textCredentials = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*)://[^/?#\s]*@`)
)

// hubScheme is the scheme of the hub of Hugging Face. Its URIs begin with the name of a
// repository, and what is before an at sign is no user.
const hubScheme = "hf"

// withoutCredentials returns a text without what the pattern finds.
func withoutCredentials(s string, pattern *regexp.Regexp) string {
	return pattern.ReplaceAllStringFunc(s, func(found string) string {
		scheme, _, _ := strings.Cut(found, "://")
		if scheme == hubScheme {
			return found
		}
		return scheme + "://"
	})
}

// clean returns a fact whose texts are single lines of bounded length, without
// characters that are not visible, and without credentials in URIs: model cards have them
// as names, too. It contradicts nothing yet.
func clean(fact v1alpha1.LineageFact) v1alpha1.LineageFact {
	if !digest.MatchString(fact.Digest) { // A part of a digest identifies nothing.
		fact.Digest = ""
	}
	line := func(s string, pattern *regexp.Regexp, limit int) string {
		return text.OneLine(withoutCredentials(text.OneLine(s, len(s)), pattern), limit)
	}
	return v1alpha1.LineageFact{
		Origin:  fact.Origin,
		Kind:    fact.Kind,
		Name:    line(fact.Name, textCredentials, maxText),
		URI:     line(fact.URI, uriCredentials, maxURI),
		Digest:  fact.Digest,
		Value:   line(fact.Value, textCredentials, maxText),
		Dataset: line(fact.Dataset, textCredentials, maxText),
		Source:  line(fact.Source, textCredentials, maxText),
	}
}

func jsonSize(fact v1alpha1.LineageFact) int {
	raw, err := json.Marshal(fact)
	if err != nil { // Strings have a form in JSON.
		return 0
	}
	return len(raw) + 1
}

// Encode returns facts as an argument of a Workflow: JSON, query-escaped, so that no text
// in it is an expression of Argo or a variable of Kubernetes. It is empty if there are
// none.
func Encode(facts []v1alpha1.LineageFact) string {
	if len(facts) == 0 {
		return ""
	}
	raw, err := json.Marshal(facts)
	if err != nil { // Strings have a form in JSON.
		return ""
	}
	return url.QueryEscape(string(raw))
}

// maxArgument is the number of bytes that Decode accepts. Escaped, a byte has three.
const maxArgument = 3 * (maxDeclaredBytes + maxObservedBytes + len("[]"))

// Decode returns the facts of an argument, cleaned and bounded: a user who submits a
// Workflow can write anything. It returns an error if the argument is not one that Encode returns.
func Decode(argument string) ([]v1alpha1.LineageFact, error) {
	if argument == "" {
		return nil, nil
	}
	if len(argument) > maxArgument {
		return nil, fmt.Errorf("the lineage has %d bytes, and at most %d are read", len(argument), maxArgument)
	}
	raw, err := url.QueryUnescape(argument)
	if err != nil {
		return nil, fmt.Errorf("unescape the lineage: %w", err)
	}
	var facts []v1alpha1.LineageFact
	if err := json.Unmarshal([]byte(raw), &facts); err != nil {
		return nil, fmt.Errorf("decode the lineage: %w", err)
	}
	own, _ := Own(facts)
	return own, nil
}
