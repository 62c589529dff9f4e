package lineage

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/text"
)

// All returns own facts followed by those of files, each with what it contradicts. Aliases
// are further names of ModelVersions, by name: a model card does not know a base model as
// a ModelVersion.
func All(own, files []v1alpha1.LineageFact, aliases map[string][]string) []v1alpha1.LineageFact {
	facts := slices.Concat(own, files)
	identities := make([]identity, len(facts))
	for i, fact := range facts {
		version, _ := VersionOf(fact)
		identities[i] = identityOf(append([]string{fact.Name, fact.URI}, aliases[version]...))
	}
	agreed := agreements(facts, identities)
	for i := range facts {
		for j := range facts {
			if contradict(facts[i], facts[j], identities[i], identities[j], agreed) {
				facts[i].Contradicts = text.OneLine(Stated(facts[j]), maxReason)
				break
			}
		}
	}
	return facts
}

// Contradictions returns those of the facts that contradict another one.
func Contradictions(facts []v1alpha1.LineageFact) []v1alpha1.LineageFact {
	var found []v1alpha1.LineageFact
	for _, fact := range facts {
		if fact.Contradicts != "" {
			found = append(found, fact)
		}
	}
	return found
}

// Stated returns a fact in a few words, and who states it.
func Stated(fact v1alpha1.LineageFact) string {
	words := []string{string(fact.Origin), fact.Source}
	if fact.Origin != v1alpha1.FileFact {
		words = words[:1]
	}
	return strings.TrimSpace(strings.Join(words, " ")) + ": " + strings.TrimSpace(cmp.Or(fact.Name, fact.URI)+" "+fact.Digest)
}

// An identity is how facts of different origins name the same thing: by the parts of its
// names, without the schemes and the revisions.
type identity [][]string

// identityOf returns the identity of what has these names. A local path names a place in a
// container, and not a thing.
func identityOf(names []string) identity {
	var all identity
	for _, name := range names {
		if name == "" || strings.ContainsRune("/.~", rune(name[0])) || strings.HasPrefix(name, "file:") {
			continue
		}
		if parts := partsOf(name); len(parts) > 0 {
			all = append(all, parts)
		}
	}
	return all
}

// partsOf returns the parts of a name or URI between slashes, in lower case: letters and
// digits only, as the writings of a name differ in the rest. Trackers append the view that
// a user has chosen to the address of a run, as a query.
func partsOf(name string) []string {
	if _, rest, found := strings.Cut(name, "://"); found {
		name = rest
	}
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, "?")
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		part = strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return unicode.ToLower(r)
			}
			return -1
		}, part)
		if part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// overlaps reports whether two identities may be of the same thing: two of their names
// have the same last parts, the owner and the name, or the name if one has no owner.
func (a identity) overlaps(b identity) bool {
	return slices.ContainsFunc(a, func(x []string) bool {
		return slices.ContainsFunc(b, func(y []string) bool {
			n := min(len(x), len(y), 2)
			return slices.Equal(x[len(x)-n:], y[len(y)-n:])
		})
	})
}

// A comparison is of what two origins state about one kind of thing.
type comparison struct {
	kind v1alpha1.LineageKind
	a, b v1alpha1.LineageOrigin
}

// agreements returns the comparisons in which two origins name one thing alike. They may
// list different numbers of things: a model card rarely lists all.
func agreements(facts []v1alpha1.LineageFact, identities []identity) map[comparison]bool {
	agreed := map[comparison]bool{}
	for i := range facts {
		for j := range facts {
			if facts[i].Kind == facts[j].Kind && identities[i].overlaps(identities[j]) {
				agreed[comparison{facts[i].Kind, facts[i].Origin, facts[j].Origin}] = true
			}
		}
	}
	return agreed
}

// contradict reports whether two facts of different origins cannot both be true: they name
// base models or runs, and the origins agree on none; or they have two digests of the same
// thing.
func contradict(a, b v1alpha1.LineageFact, ia, ib identity, agreed map[comparison]bool) bool {
	if a.Kind != b.Kind || a.Origin == b.Origin {
		return false
	}
	if ia.overlaps(ib) {
		return differ(a.Digest, b.Digest)
	}
	isSingle := a.Kind == v1alpha1.BaseModelFact || a.Kind == v1alpha1.RunFact
	return isSingle && len(ia) > 0 && len(ib) > 0 && !agreed[comparison{a.Kind, a.Origin, b.Origin}]
}

// differ reports whether two digests of the same algorithm are different.
func differ(a, b string) bool {
	algorithm, x, _ := strings.Cut(a, ":")
	other, y, _ := strings.Cut(b, ":")
	return a != "" && b != "" && strings.EqualFold(algorithm, other) && !strings.EqualFold(x, y)
}
