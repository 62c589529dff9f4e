package lineage

import (
	"maps"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// versionPrefix comes before the name of a ModelVersion in the name of a base model.
const versionPrefix = "ModelVersion "

// VersionName returns the name of the fact that a ModelVersion of the same namespace is a
// base model.
func VersionName(modelVersion string) string { return versionPrefix + modelVersion }

// VersionOf returns the ModelVersion of the same namespace that a fact is about, if it is
// about one. A file knows none, whatever its author calls a base model.
func VersionOf(fact v1alpha1.LineageFact) (name string, found bool) {
	if fact.Kind != v1alpha1.BaseModelFact || fact.Origin == v1alpha1.FileFact {
		return "", false
	}
	return strings.CutPrefix(fact.Name, versionPrefix)
}

// Declared returns the facts that a user has declared. The source is where: the field or
// the object.
func Declared(declared *v1alpha1.Lineage, source string) []v1alpha1.LineageFact {
	if declared == nil {
		return nil
	}
	var facts []v1alpha1.LineageFact
	add := func(fact v1alpha1.LineageFact) {
		fact.Origin, fact.Source = v1alpha1.DeclaredFact, source
		facts = append(facts, fact)
	}
	for _, dataset := range declared.Datasets {
		add(ofResource(v1alpha1.DatasetFact, dataset))
	}
	for _, code := range declared.Code {
		add(ofResource(v1alpha1.CodeFact, code))
	}
	for _, base := range declared.BaseModels {
		add(ofBaseModel(base))
	}
	if declared.Run != nil {
		add(ofResource(v1alpha1.RunFact, *declared.Run))
	}
	for _, name := range slices.Sorted(maps.Keys(declared.Parameters)) {
		add(v1alpha1.LineageFact{Kind: v1alpha1.ParameterFact, Name: name, Value: string(declared.Parameters[name])})
	}
	for _, metric := range declared.Metrics {
		add(v1alpha1.LineageFact{Kind: v1alpha1.MetricFact, Name: metric.Name, Value: metric.Value, Dataset: metric.Dataset})
	}
	return facts
}

func ofResource(kind v1alpha1.LineageKind, resource v1alpha1.Resource) v1alpha1.LineageFact {
	return v1alpha1.LineageFact{Kind: kind, Name: resource.Name, URI: resource.URI, Digest: mainDigest(resource.Digest)}
}

func ofBaseModel(base v1alpha1.BaseModel) v1alpha1.LineageFact {
	if base.ModelVersion != "" {
		return v1alpha1.LineageFact{Kind: v1alpha1.BaseModelFact, Name: VersionName(base.ModelVersion)}
	}
	return v1alpha1.LineageFact{Kind: v1alpha1.BaseModelFact, Name: base.Name, URI: base.URI}
}

// mainDigest returns one of several digests of the same content, as "ALGORITHM:DIGEST":
// SHA-256 if there is one, otherwise the first in the order of the algorithms' names.
func mainDigest(digests map[string]v1alpha1.LineageText) string {
	algorithms := slices.Sorted(maps.Keys(digests))
	switch {
	case len(algorithms) == 0:
		return ""
	case digests["sha256"] != "":
		return "sha256:" + string(digests["sha256"])
	default:
		return algorithms[0] + ":" + string(digests[algorithms[0]])
	}
}
