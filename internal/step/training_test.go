package step

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lineage"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/sign"
)

// ownFacts are what a user has declared and the operator has observed.
var ownFacts = []v1alpha1.LineageFact{
	{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.DatasetFact, Name: "faces", URI: "s3://data/faces/v3", Digest: "sha256:" + strings.Repeat("ab", 32), Source: "spec.lineage"},
	{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.ParameterFact, Name: "learning-rate", Value: "3e-4", Source: "spec.lineage"},
	{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.ParameterFact, Name: "learning-rate", Value: "1e-3", Source: "Job train-resnet"},
	{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.MetricFact, Name: "accuracy", Value: "0.913", Dataset: "faces-test", Source: "spec.lineage"},
	{Origin: v1alpha1.ObservedFact, Kind: v1alpha1.WorkloadFact, Name: "Job train-resnet", Digest: "uid:77aa", Value: "2026-11-28T01:02:03Z/2026-11-28T02:03:04Z"},
	{Origin: v1alpha1.ObservedFact, Kind: v1alpha1.ImageFact, Name: "train:v1", URI: "registry.example.com/train@sha256:" + strings.Repeat("cd", 32), Digest: "sha256:" + strings.Repeat("cd", 32)},
}

// trainings returns the provenances of trainings of the image.
func (p *pod) trainings(t *testing.T) []map[string]any {
	t.Helper()
	var found []map[string]any
	for _, artifact := range p.referrers(t)[sign.ProvenancePredicate] {
		statement := payload(t, p.bundle(t, artifact))
		if statement["predicate"].(map[string]any)["buildDefinition"].(map[string]any)["buildType"] == sign.TrainingType {
			found = append(found, statement)
		}
	}
	return found
}

func TestStatusReportAttestsTraining(t *testing.T) {
	p := newStreamingPod(t)
	p.write(t, "source/w.bin", "weights")
	p.write(t, "source/README.md", "---\nlicense: mit\nbase_model: acme/base\n---\n")
	key := p.addKey(t)
	p.signing = []string{"--lineage=" + lineage.Encode(ownFacts), "--builder-id=https://kiln.example.com"}

	code, printed := p.allSteps(t)

	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, []string{"Files", "Provenance", "Training"}, p.report(t).Image.Signature.Attestations)
	trainings := p.trainings(t)
	require.Len(t, trainings, 1)
	files, listed := sign.NewFiles(p.listedFiles(t))
	require.True(t, listed)
	digest := strings.TrimPrefix(p.digest(t), "sha256:")
	assert.Equal(t, map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": sign.ProvenancePredicate,
		"subject": []any{
			map[string]any{"name": p.host + "/" + p.repo, "digest": map[string]any{"sha256": digest}},
			map[string]any{"name": "resnet", "digest": map[string]any{"sha256": files.Root}},
		},
		"predicate": map[string]any{
			"buildDefinition": map[string]any{
				"buildType":          sign.TrainingType,
				"externalParameters": map[string]any{"Declared": map[string]any{"learning-rate": "3e-4"}},
				"resolvedDependencies": []any{
					map[string]any{
						"name": "faces", "uri": "s3://data/faces/v3", "digest": map[string]any{"sha256": strings.Repeat("ab", 32)},
						"annotations": map[string]any{"kind": "Dataset", "origin": "Declared", "source": "spec.lineage"},
					},
					map[string]any{
						"name": "train:v1", "uri": ownFacts[5].URI, "digest": map[string]any{"sha256": strings.Repeat("cd", 32)},
						"annotations": map[string]any{"kind": "Image", "origin": "Observed"},
					},
					map[string]any{
						"name": "acme/base", "uri": "hf://acme/base", "annotations": map[string]any{"kind": "BaseModel", "origin": "File", "source": "README.md"},
					},
				},
			},
			"runDetails": map[string]any{
				"builder":  map[string]any{"id": "https://kiln.example.com"},
				"metadata": map[string]any{"invocationId": "ml/Job/train-resnet/77aa", "startedOn": "2026-11-28T01:02:03Z", "finishedOn": "2026-11-28T02:03:04Z"},
				"byproducts": []any{
					map[string]any{"name": "accuracy", "annotations": map[string]any{"kind": "Metric", "origin": "Declared", "source": "spec.lineage", "value": "0.913", "dataset": "faces-test"}},
					map[string]any{"name": "mit", "annotations": map[string]any{"kind": "License", "origin": "File", "source": "README.md", "value": "mit"}},
				},
			},
		},
	}, trainings[0])

	// A retry, and another Workflow that finds the image, add nothing.
	count := &writeCounter{inner: p.registry.get()}
	p.registry.set(count)
	for _, workflowUID := range []string{"wf-1", "wf-2"} {
		p.workflowUID = workflowUID
		code, printed = p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
	}
	assert.Empty(t, count.writes())
	assert.Equal(t, []string{"Files", "Provenance", "Training"}, p.report(t).Image.Signature.Attestations)
	assert.Len(t, p.referrers(t)[sign.ProvenancePredicate], 2)

	// Other facts are attested beside them.
	p.signing = []string{"--lineage=" + lineage.Encode(ownFacts[:1]), "--builder-id=https://kiln.example.com"}
	code, printed = p.statusReport(t)
	require.Equal(t, exitOK, code, printed)
	assert.Len(t, p.trainings(t), 2)
	for _, artifact := range p.referrers(t)[sign.SignPredicate] {
		require.NoError(t, sign.VerifyImage(p.bundle(t, artifact), p.digest(t), []sign.PublicKey{key}))
	}
}

// signingKey returns the key that addKey has added.
func (p *pod) signingKey(t *testing.T) *sign.Key {
	t.Helper()
	key, err := (&signing{secretDir: p.path("signing-secret")}).key(t.Output())
	require.NoError(t, err)
	return key
}

// The provenance of a training is not that of the build, which is attested beside it.
func TestStatusReportAttestsBuildBesideTraining(t *testing.T) {
	p := newStreamedPod(t)
	p.addKey(t)
	config := registry.Config{PlainHTTP: []string{p.host}}
	tag, err := config.Tag(p.image())
	require.NoError(t, err)
	repository, err := config.Open(t.Context(), tag.Repository, registry.Push)
	require.NoError(t, err)
	bundle, err := p.signingKey(t).SignTraining(sign.Image{Repository: p.host + "/" + p.repo, Digest: p.digest(t)}, sign.Training{})
	require.NoError(t, err)
	require.NoError(t, repository.Attach(t.Context(), p.descriptor(t).Descriptor, []registry.Artifact{artifactOf(bundle, sign.BundleType, sign.ProvenancePredicate)}))

	for _, workflowUID := range []string{"wf-2", "wf-3"} {
		p.workflowUID = workflowUID
		code, printed := p.allSteps(t)
		require.Equal(t, exitOK, code, printed)
		assert.True(t, p.report(t).Source.AlreadyPushed)
		assert.Len(t, p.trainings(t), 1)
		assert.Len(t, p.referrers(t)[sign.ProvenancePredicate], 2)
	}
}

func TestStatusReportWithoutTraining(t *testing.T) {
	tests := map[string]struct {
		flags  []string
		readme string
		want   []string
		log    string
	}{
		"no facts":            {want: []string{"Files", "Provenance"}},
		"no provenance":       {flags: []string{"--signing-attest=Files", "--lineage=" + lineage.Encode(ownFacts)}, want: []string{"Files"}},
		"facts of files only": {readme: "---\nlicense: mit\n---\n", want: []string{"Files", "Provenance", "Training"}},
		"facts that cannot be decoded": {
			flags: []string{"--lineage=%zz"}, want: []string{"Files", "Provenance"}, log: "what was declared and observed about the model is not attested: ",
		},
		"facts of origins that they do not have": {
			flags: []string{"--lineage=" + lineage.Encode([]v1alpha1.LineageFact{{Origin: v1alpha1.FileFact, Kind: v1alpha1.RunFact, Name: "r"}})}, want: []string{"Files", "Provenance"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.write(t, "source/w.bin", "weights")
			if tt.readme != "" {
				p.write(t, "source/README.md", tt.readme)
			}
			p.addKey(t)
			p.signing = tt.flags
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			assert.Equal(t, tt.want, p.report(t).Image.Signature.Attestations)
			assert.Contains(t, printed, tt.log)
			assert.Len(t, p.trainings(t), strings.Count(strings.Join(tt.want, ""), "Training"))
		})
	}
}

// However long the facts are, verifiers read the bundle.
func TestTrainingIsSmall(t *testing.T) {
	var own, files []v1alpha1.LineageFact
	for _, fact := range []v1alpha1.LineageFact{{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.RunFact}, {Origin: v1alpha1.FileFact, Kind: v1alpha1.BaseModelFact, Source: strings.Repeat("模", 256)}} {
		for i := range 300 {
			fact.Name = strings.Repeat("<", i%200) + strings.Repeat("模", i%50) + string(rune('a'+i%26))
			fact.URI = strings.Repeat("\"", i)
			if fact.Origin == v1alpha1.DeclaredFact {
				own = append(own, fact)
			} else {
				files = append(files, fact)
			}
		}
	}
	s := signing{lineage: lineage.Encode(boundedOwn(own)), namespace: "ml"}
	facts := s.facts(report.Report{Lineage: files}, t.Output())
	require.Greater(t, len(facts), 40)
	p := newStreamedPod(t)
	p.addKey(t)
	bundle, err := s.training(p.signingKey(t), signed{image: sign.Image{Repository: "r", Digest: p.digest(t)}}, facts)
	require.NoError(t, err)
	assert.Less(t, len(bundle), sign.MaxBundle/2)
}

func boundedOwn(facts []v1alpha1.LineageFact) []v1alpha1.LineageFact {
	own, _ := lineage.Own(facts)
	return own
}

func TestMountCheckReadsFacts(t *testing.T) {
	p := newStreamingPod(t)
	p.write(t, "source/w.bin", "weights")
	p.write(t, "source/README.md", "---\nlicense: mit\n---\n")
	p.write(t, "source/config.json", "{}")
	p.write(t, "source/sub/README.md", "---\nlicense: gpl\n---\n")

	code, printed := p.mountCheck(t)

	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, []v1alpha1.LineageFact{{Origin: v1alpha1.FileFact, Kind: v1alpha1.LicenseFact, Value: "mit", Source: "README.md"}}, p.report(t).Lineage)
	assert.Contains(t, printed, "the files state 1 fact about the model\n")
}

// Whatever the card is, the image is the same, and the log says what was not read.
func TestMountCheckOfBrokenFacts(t *testing.T) {
	for name, tt := range map[string]struct{ readme, log string }{
		"broken":     {"---\nlicense: [\n---\n", "no facts about the model are read from a file: README.md is not YAML: "},
		"a megabyte": {"---\na: " + strings.Repeat("x", 1<<20) + "\n---\n", "README.md has a front matter that does not end within 256 KiB"},
		"binary":     {"---\n\x00\xff\n---\n", "README.md is not YAML: "},
	} {
		t.Run(name, func(t *testing.T) {
			p := newStreamingPod(t)
			p.write(t, "source/README.md", tt.readme)
			code, printed := p.mountCheck(t)
			require.Equal(t, exitOK, code, printed)
			assert.Contains(t, printed, tt.log)
			assert.Empty(t, p.report(t).Lineage)
			code, printed = p.build(t)
			require.Equal(t, exitOK, code, printed)
			code, printed = p.statusReport(t)
			require.Equal(t, exitOK, code, printed)
		})
	}
}

// A card with thousands of metrics leaves room in the report.
func TestMountCheckBoundsTheReport(t *testing.T) {
	p := newStreamingPod(t)
	p.write(t, "source/w.bin", "weights")
	p.write(t, "source/README.md", "---\nbase_model: ["+strings.Repeat("<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<, ", 5000)+"]\nmodel-index: [{results: [{metrics: ["+strings.Repeat("{type: a, value: 1}, ", 2000)+"]}]}]\n---\n")
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	assert.Greater(t, p.report(t).LineageOmitted, int64(1000))
	raw, err := os.ReadFile(p.path("kiln/" + report.FileName))
	require.NoError(t, err)
	assert.Less(t, len(raw), 20<<10)
}
