package command

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// derivation is a ModelVersion, and from what it was made.
type derivation struct {
	version *v1alpha1.ModelVersion
	// of is data or another ModelVersion, and how says what the version has to do with it;
	// both are empty for the one that the user asks about.
	of, how string
	// origins are who states that; nobody has to if it can be seen.
	origins []string
}

// trainedWith returns the ModelVersions of which a fact states that they were trained with
// data.
func trainedWith(versions []v1alpha1.ModelVersion, data string) []derivation {
	var found []derivation
	for i := range versions {
		d := derivation{version: &versions[i], how: "trained with it"}
		for _, fact := range factsOf(&versions[i]) {
			if fact.Kind != v1alpha1.DatasetFact || !isAbout(fact, data) {
				continue
			}
			if d.of == "" {
				d.of = thing(fact)
			}
			d.addOrigin(fact)
		}
		if d.of != "" {
			found = append(found, d)
		}
	}
	return found
}

// isAbout reports whether a fact is about data that a user names by its URI, name or
// digest.
func isAbout(fact v1alpha1.LineageFact, data string) bool {
	return fact.Digest == data || within(fact.URI, data) || within(fact.Name, data)
}

// within reports whether a URI is that of a place, or of something in it.
func within(uri, place string) bool {
	place = strings.TrimRight(place, "/")
	rest, found := strings.CutPrefix(uri, place)
	return found && place != "" && (rest == "" || strings.ContainsAny(rest[:1], "/@?#"))
}

func (d *derivation) addOrigin(fact v1alpha1.LineageFact) {
	if origin := originOf(fact); !slices.Contains(d.origins, origin) {
		d.origins = append(d.origins, origin)
	}
}

// ancestry is what connects ModelVersions: facts about base models by what they name, and
// images by their digests.
type ancestry struct {
	byName   map[types.NamespacedName][]base
	byDigest map[string][]base
	images   map[string][]*v1alpha1.ModelVersion
}

// base is a fact about a base model of a ModelVersion.
type base struct {
	version *v1alpha1.ModelVersion
	fact    v1alpha1.LineageFact
}

func ancestryOf(versions []v1alpha1.ModelVersion) ancestry {
	all := ancestry{byName: map[types.NamespacedName][]base{}, byDigest: map[string][]base{}, images: map[string][]*v1alpha1.ModelVersion{}}
	for i := range versions {
		mv := &versions[i]
		if mv.Status.Digest != "" {
			all.images[mv.Status.Digest] = append(all.images[mv.Status.Digest], mv)
		}
		for _, fact := range factsOf(mv) {
			if fact.Kind != v1alpha1.BaseModelFact {
				continue
			}
			if name := baseVersion(fact); name != "" {
				key := types.NamespacedName{Namespace: mv.Namespace, Name: name}
				all.byName[key] = append(all.byName[key], base{mv, fact})
			}
			if fact.Digest != "" {
				all.byDigest[fact.Digest] = append(all.byDigest[fact.Digest], base{mv, fact})
			}
		}
	}
	return all
}

// builtOn returns the ModelVersions, those with the same images, those that were built on
// any of these, and so on, each once. A base model is named, or has the digest of the
// image: a name with another digest is that of a ModelVersion that was deleted.
func builtOn(versions []v1alpha1.ModelVersion, roots []derivation) []derivation {
	all, known := slices.Clone(roots), map[types.UID]bool{}
	for _, root := range roots {
		known[root.version.UID] = true
	}
	connected := ancestryOf(versions)
	for i := 0; i < len(all); i++ {
		for _, next := range connected.of(all[i].version) {
			if !known[next.version.UID] {
				known[next.version.UID] = true
				all = append(all, next)
			}
		}
	}
	return all
}

// of returns the ModelVersions with the image of another one, and those that were built on
// it. What a digest leads to is returned once, so that many ModelVersions with the same
// image cost no more than one.
func (a ancestry) of(mv *v1alpha1.ModelVersion) []derivation {
	name, digest := "modelversion/"+mv.Name, mv.Status.Digest
	var found []derivation
	for _, twin := range a.images[digest] {
		found = append(found, derivation{version: twin, of: name, how: "has the same image"})
	}
	candidates := slices.DeleteFunc(slices.Clone(a.byName[client.ObjectKeyFromObject(mv)]), func(child base) bool {
		return child.fact.Digest != "" && child.fact.Digest != digest
	})
	candidates = append(candidates, a.byDigest[digest]...)
	delete(a.images, digest)
	delete(a.byDigest, digest)
	positions := map[types.UID]int{}
	for _, child := range candidates {
		position, isKnown := positions[child.version.UID]
		if !isKnown {
			position = len(found)
			positions[child.version.UID] = position
			found = append(found, derivation{version: child.version, of: name, how: "built on it"})
		}
		found[position].addOrigin(child.fact)
	}
	return found
}

// withoutDataset returns how many ModelVersions with an image state no data.
func withoutDataset(versions []v1alpha1.ModelVersion) int {
	count := 0
	for i := range versions {
		isData := func(fact v1alpha1.LineageFact) bool { return fact.Kind == v1alpha1.DatasetFact }
		if versions[i].Status.Digest != "" && !slices.ContainsFunc(factsOf(&versions[i]), isData) {
			count++
		}
	}
	return count
}

// servingDeleted returns how many pods serve a ModelVersion that does not exist any more.
func servingDeleted(found inventory) int {
	exists := map[string]bool{}
	for i := range found.versions {
		exists[string(found.versions[i].UID)] = true
	}
	count := 0
	for i := range found.pods {
		if !hasEnded(&found.pods[i]) && !exists[found.pods[i].Labels[v1alpha1.LabelServedVersionUID]] {
			count++
		}
	}
	return count
}

// podsByVersion returns the pods that have not ended, by the UID of the ModelVersion that
// they serve.
func podsByVersion(pods []corev1.Pod) map[types.UID][]corev1.Pod {
	serving := map[types.UID][]corev1.Pod{}
	for i := range pods {
		if !hasEnded(&pods[i]) {
			uid := types.UID(pods[i].Labels[v1alpha1.LabelServedVersionUID])
			serving[uid] = append(serving[uid], pods[i])
		}
	}
	return serving
}

// usersOf returns the ModelVersions that were made from something, and the pods that serve
// any of those.
func usersOf(affected []derivation, pods []corev1.Pod) []client.Object {
	var users, serving []client.Object
	byVersion := podsByVersion(pods)
	for _, d := range affected {
		if d.of != "" {
			users = append(users, d.version)
		}
		for i := range byVersion[d.version.UID] {
			serving = append(serving, &byVersion[d.version.UID][i])
		}
	}
	return append(users, serving...)
}

// usesOf returns the rows of a table: the namespace, the name, what is used and how, of
// the ModelVersions, and of what stands for them and serves them.
func usesOf(affected []derivation, found inventory) [][]any {
	var rows [][]any
	byVersion, byName := podsByVersion(found.pods), standingFor(found.models)
	for _, d := range affected {
		mv, name := d.version, "modelversion/"+d.version.Name
		if d.of != "" {
			rows = append(rows, []any{mv.Namespace, name, d.of, words(d.how, inParentheses(strings.Join(d.origins, ", ")))})
		}
		for _, user := range byName[client.ObjectKeyFromObject(mv)] {
			if user.digest == "" || user.digest == mv.Status.Digest {
				rows = append(rows, []any{mv.Namespace, "model/" + user.model, name, user.how})
			}
		}
		for _, line := range servedBy(mv, byVersion[mv.UID]) {
			workload, ready, _ := strings.Cut(line, "\t")
			rows = append(rows, []any{mv.Namespace, workload, name, "serves it, " + ready})
		}
	}
	return rows
}

// modelUse is how a Model uses a ModelVersion, whose image has the digest.
type modelUse struct{ model, how, digest string }

// standingFor returns the uses of Models by the ModelVersion.
func standingFor(models []v1alpha1.Model) map[types.NamespacedName][]modelUse {
	uses := map[types.NamespacedName][]modelUse{}
	for i := range models {
		model := &models[i]
		if latest := model.Status.LatestVersion; latest != nil {
			key := types.NamespacedName{Namespace: model.Namespace, Name: latest.ModelVersion}
			uses[key] = append(uses[key], modelUse{model.Name, "latest version", latest.Digest})
		}
		for _, alias := range model.Status.Aliases {
			key := types.NamespacedName{Namespace: model.Namespace, Name: alias.Version}
			uses[key] = append(uses[key], modelUse{model.Name, "alias " + aliasCell(alias), alias.Digest})
		}
	}
	return uses
}
