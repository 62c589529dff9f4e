package command

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/xlab/treeprint"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lineage"
	"github.com/modelkiln/modelkiln/internal/text"
)

// maxText is the number of characters of users' texts that a cell of a line shows: a name,
// a URI and a digest of the length that the status allows.
const maxText = 1100

// visible returns a user's text as it can be shown: on one line, and without characters
// that control a terminal or reverse the direction of writing.
func visible(s string) string { return text.OneLine(s, maxText) }

// maxGenerations is the number of base models, each the base of the one before, that a
// tree shows.
const maxGenerations = 8

// baseVersion returns the ModelVersion that a fact names as a base model, or "".
func baseVersion(fact v1alpha1.LineageFact) string {
	name, found := lineage.VersionOf(fact)
	if !found || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return ""
	}
	return name
}

// factsOf returns the facts that the status of a ModelVersion has.
func factsOf(mv *v1alpha1.ModelVersion) []v1alpha1.LineageFact {
	if mv.Status.Lineage == nil {
		return nil
	}
	return mv.Status.Lineage.Facts
}

// trainingLabels are how a tree calls facts about the training.
var trainingLabels = map[v1alpha1.LineageKind]string{
	v1alpha1.ImageFact:     "image",
	v1alpha1.BaseModelFact: "base",
	v1alpha1.DatasetFact:   "data",
	v1alpha1.CodeFact:      "code",
	v1alpha1.RunFact:       "run",
	v1alpha1.ParameterFact: "parameter",
}

// trainingKinds are the kinds of facts about the training, in the order of a tree.
var trainingKinds = []v1alpha1.LineageKind{v1alpha1.ImageFact, v1alpha1.BaseModelFact, v1alpha1.DatasetFact, v1alpha1.CodeFact, v1alpha1.RunFact, v1alpha1.ParameterFact}

// thing returns what a fact is about.
func thing(fact v1alpha1.LineageFact) string {
	switch fact.Kind {
	case v1alpha1.LicenseFact:
		return words("license", fact.Name, fact.Value, inParentheses(fact.URI))
	case v1alpha1.ParameterFact, v1alpha1.MetricFact, v1alpha1.PropertyFact:
		return words(fact.Name, fact.Value, inParentheses(fact.Dataset))
	default:
		digest := fact.Digest
		if strings.Contains(fact.URI, digest) {
			digest = ""
		}
		return words(fact.Name, fact.URI, digest, fact.Value)
	}
}

func inParentheses(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

// words returns texts of users, without those that are empty.
func words(texts ...string) string { return visible(strings.Join(texts, " ")) }

// originOf returns who states a fact.
func originOf(fact v1alpha1.LineageFact) string {
	return words(strings.ToLower(string(fact.Origin)), fact.Source)
}

// addFact adds a fact to a tree, and what it contradicts.
func addFact(tree treeprint.Tree, label string, fact v1alpha1.LineageFact) treeprint.Tree {
	branch := tree.AddBranch(strings.Join([]string{label, thing(fact), originOf(fact)}, "\t"))
	if fact.Contradicts != "" {
		branch.AddNode("contradicts\t" + visible(fact.Contradicts))
	}
	return branch
}

// maxOrigins is the number of base models and data that the line of a Model's tree names.
const maxOrigins = 4

// madeFrom returns the base models and the data of a ModelVersion, and who states them, in
// one line; "" if none are known.
func madeFrom(mv *v1alpha1.ModelVersion) string {
	var parts []string
	more := 0
	for _, kind := range []v1alpha1.LineageKind{v1alpha1.BaseModelFact, v1alpha1.DatasetFact} {
		for _, fact := range factsOf(mv) {
			switch {
			case fact.Kind != kind:
			case len(parts) == maxOrigins:
				more++
			default:
				parts = append(parts, words(trainingLabels[kind], cmp.Or(fact.Name, fact.URI, fact.Digest), inParentheses(originOf(fact))))
			}
		}
	}
	if more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}

// addLineage adds the facts about a ModelVersion, and about those that it was built on.
func (t *versionTree) addLineage(ctx context.Context, tree treeprint.Tree, mv *v1alpha1.ModelVersion, generation int) error {
	kinds := map[v1alpha1.LineageKind][]v1alpha1.LineageFact{}
	for _, fact := range factsOf(mv) {
		kinds[fact.Kind] = append(kinds[fact.Kind], fact)
	}
	if err := t.addTraining(ctx, tree, mv, kinds, generation); err != nil {
		return err
	}
	addCards(tree, factsOf(mv))
	for _, fact := range kinds[v1alpha1.MetricFact] {
		addFact(tree, "metric", fact)
	}
	if mv.Status.Lineage != nil && mv.Status.Lineage.Omitted > 0 {
		tree.AddNode(fmt.Sprintf("omitted\t%d facts that the status could not hold", mv.Status.Lineage.Omitted))
	}
	return nil
}

// addTraining adds the workload that trained the model, and what it used.
func (t *versionTree) addTraining(ctx context.Context, tree treeprint.Tree, mv *v1alpha1.ModelVersion, kinds map[v1alpha1.LineageKind][]v1alpha1.LineageFact, generation int) error {
	var training treeprint.Tree
	for _, workload := range kinds[v1alpha1.WorkloadFact] {
		training = addFact(tree, "trained", workload)
	}
	for _, kind := range trainingKinds {
		for _, fact := range kinds[kind] {
			if training == nil {
				training = tree.AddBranch("trained\tby a workload that is not known")
			}
			branch := addFact(training, trainingLabels[kind], fact)
			if base := baseVersion(fact); base != "" {
				if err := t.addBase(ctx, branch, types.NamespacedName{Namespace: mv.Namespace, Name: base}, fact.Digest, generation+1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// addBase adds what is known about the ModelVersion that another one was built on. The
// digest is that of the image which the training has used, or "".
func (t *versionTree) addBase(ctx context.Context, tree treeprint.Tree, name types.NamespacedName, digest string, generation int) error {
	base := &v1alpha1.ModelVersion{}
	if err := t.Get(ctx, name, base); client.IgnoreNotFound(err) != nil {
		return t.explain(err, "ModelVersion", name.Name)
	}
	switch {
	case base.UID == "":
		tree.AddNode("the ModelVersion does not exist, or was deleted")
	case digest != "" && base.Status.Digest != digest:
		tree.AddNode("the ModelVersion of this name has another image now: " + base.Status.Digest)
	case t.has[base.UID]:
		tree.AddNode("shown above")
	case generation > maxGenerations:
		tree.AddNode(fmt.Sprintf("more is shown by kubectl kiln tree mv/%s -n %s", base.Name, base.Namespace))
	default:
		return t.addVersion(ctx, tree, base, generation)
	}
	return nil
}

// addCards adds the licenses and properties, one line for each source that states some.
func addCards(tree treeprint.Tree, facts []v1alpha1.LineageFact) {
	var origins []string
	things, contradictions := map[string][]string{}, map[string][]string{}
	for _, fact := range facts {
		if fact.Kind != v1alpha1.LicenseFact && fact.Kind != v1alpha1.PropertyFact {
			continue
		}
		origin := originOf(fact)
		if len(things[origin]) == 0 {
			origins = append(origins, origin)
		}
		things[origin] = append(things[origin], thing(fact))
		if fact.Contradicts != "" {
			contradictions[origin] = append(contradictions[origin], thing(fact)+": "+visible(fact.Contradicts))
		}
	}
	for _, origin := range origins {
		branch := tree.AddBranch("card\t" + strings.Join(things[origin], ", ") + "\t" + origin)
		for _, contradiction := range contradictions[origin] {
			branch.AddNode("contradicts\t" + contradiction)
		}
	}
}
