package command

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// fact returns a fact that is declared, or that of another origin: "Observed", or "File
// README.md".
func fact(origin string, kind v1alpha1.LineageKind, change func(*v1alpha1.LineageFact)) v1alpha1.LineageFact {
	name, source, _ := strings.Cut(origin, " ")
	f := v1alpha1.LineageFact{Origin: v1alpha1.LineageOrigin(name), Kind: kind, Source: source}
	change(&f)
	return f
}

func named(name string) func(*v1alpha1.LineageFact) {
	return func(f *v1alpha1.LineageFact) { f.Name = name }
}

func at(uri string) func(*v1alpha1.LineageFact) {
	return func(f *v1alpha1.LineageFact) { f.URI = uri }
}

// newVersionOf creates a ModelVersion that is ready, with an image of its own and facts.
func newVersionOf(t *testing.T, namespace, name string, facts ...v1alpha1.LineageFact) *v1alpha1.ModelVersion {
	t.Helper()
	status := readyStatus()
	status.Digest = digestOf(name)
	status.Workflow = nil
	if len(facts) > 0 {
		status.Lineage = &v1alpha1.LineageStatus{Facts: facts}
	}
	return newVersion(t, namespace, name, status)
}

// digestOf returns a digest for a name.
func digestOf(name string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name))) }

// on returns a time.
func on(text string) *metav1.Time {
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return &metav1.Time{Time: parsed}
}

var spaces = regexp.MustCompile(` {2,}`)

// inColumns returns the output with two spaces between columns, however wide they are.
func inColumns(out string) string { return spaces.ReplaceAllString(out, "  ") }

func TestTree_lineage(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersionOf(t, ns, "mv-2", fact("Declared", v1alpha1.DatasetFact, at("s3://data/faces/v2")))
	status := readyStatus()
	status.SizeBytes, status.SentBytes, status.ReusedBytes = 0, 0, 0
	status.StartTime, status.FinishTime = on("2026-11-19T10:02:00Z"), on("2026-11-19T10:05:12Z")
	status.Lineage = &v1alpha1.LineageStatus{Omitted: 3, Facts: []v1alpha1.LineageFact{
		fact("Declared spec.lineage", v1alpha1.DatasetFact, at("s3://data/faces/v3")),
		fact("Declared spec.lineage", v1alpha1.CodeFact, func(f *v1alpha1.LineageFact) {
			f.URI, f.Digest = "git+https://github.com/acme/train", "gitCommit:1a2b3c"
		}),
		fact("Declared spec.lineage", v1alpha1.RunFact, at("https://wandb.ai/acme/r/runs/x1")),
		fact("Declared spec.lineage", v1alpha1.ParameterFact, func(f *v1alpha1.LineageFact) { f.Name, f.Value = "learning-rate", "3e-4" }),
		fact("Declared spec.lineage", v1alpha1.MetricFact, func(f *v1alpha1.LineageFact) { f.Name, f.Value, f.Dataset = "accuracy", "0.913", "faces-test" }),
		fact("Observed", v1alpha1.WorkloadFact, func(f *v1alpha1.LineageFact) {
			f.Name, f.Digest, f.Value = "Job train-resnet", "uid:77aa", "2026-11-19T09:00:00Z/2026-11-19T10:00:00Z"
		}),
		fact("Observed", v1alpha1.ImageFact, func(f *v1alpha1.LineageFact) {
			f.URI, f.Digest = "registry.example.com/train@sha256:ab12", "sha256:ab12"
		}),
		fact("Observed", v1alpha1.BaseModelFact, func(f *v1alpha1.LineageFact) {
			f.Name, f.Digest, f.Contradicts = "ModelVersion mv-2", digestOf("mv-2"), "File README.md: acme/other"
		}),
		fact("File README.md", v1alpha1.LicenseFact, func(f *v1alpha1.LineageFact) { f.Value = "apache-2.0" }),
		fact("File README.md", v1alpha1.PropertyFact, func(f *v1alpha1.LineageFact) { f.Name, f.Value = "task", "image-classification" }),
		fact("File config.json", v1alpha1.PropertyFact, func(f *v1alpha1.LineageFact) {
			f.Name, f.Value, f.Contradicts = "architecture", "ResNet", "File x.gguf: llama"
		}),
		fact("File README.md", v1alpha1.BaseModelFact, named("acme/other")),
	}}
	mv := newVersion(t, ns, "mv-3", status)
	newWorkflow(t, mv, 1, map[string]any{"phase": "Succeeded"})
	mv.Status.Workflow.Name = "mv-3-1c072-1"
	setStatus(t, mv, mv.Status)
	setAlias(t, ns, "mv-3", "", "mv-2")
	model := resnet(t, ns)
	model.Status.Aliases[0].Since = on("2026-11-20T08:00:00Z")
	model.Status.Aliases[0].By = "alice"
	require.NoError(t, server.Status().Update(t.Context(), model))
	newServingPod(t, mv, "resnet-7c9f5b8d4-x2x1v")

	out := inColumns(succeeds(t, ns, "tree", "resnet-7c9f5b8d4-x2x1v"))
	assert.Contains(t, out, `  ├── Model resnet  production → mv-3
  ├── alias  production since 2026-11-20 08:00:00 UTC by alice, before: mv-2
  ├── image  registry.example.com/models/resnet:v1c072@`+digest+`
  ├── signed  no
  ├── built  Workflow mv-3-1c072-1  template modelkiln-build-stream  2026-11-19 10:02:00 UTC  took 3m12s  Stream
  ├── trained  Job train-resnet uid:77aa 2026-11-19T09:00:00Z/2026-11-19T10:00:00Z  observed
  │  ├── image  registry.example.com/train@sha256:ab12  observed
  │  ├── base  ModelVersion mv-2 `+digestOf("mv-2")+`  observed
  │  │  ├── contradicts  File README.md: acme/other
  │  │  ├── image  registry.example.com/models/resnet:v1c072@`+digestOf("mv-2")+`  9.0 GiB  sent 1.0 GiB, reused 8.0 GiB
  │  │  ├── signed  no
  │  │  └── trained  by a workload that is not known
  │  │  └── data  s3://data/faces/v2  declared
  │  ├── base  acme/other  file README.md
  │  ├── data  s3://data/faces/v3  declared spec.lineage
  │  ├── code  git+https://github.com/acme/train gitCommit:1a2b3c  declared spec.lineage
  │  ├── run  https://wandb.ai/acme/r/runs/x1  declared spec.lineage
  │  └── parameter  learning-rate 3e-4  declared spec.lineage
  ├── card  license apache-2.0, task image-classification  file README.md
  ├── card  architecture ResNet  file config.json
  │  └── contradicts  architecture ResNet: File x.gguf: llama
  ├── metric  accuracy 0.913 (faces-test)  declared spec.lineage
  └── omitted  3 facts that the status could not hold
`)
	assert.Contains(t, inColumns(succeeds(t, ns, "tree", "resnet")), "from  base ModelVersion mv-2 (observed), base acme/other (file README.md), data s3://data/faces/v3 (declared spec.lineage)\n")
	names := strings.Fields(succeeds(t, ns, "tree", "mv/mv-3", "-o", "name"))
	assert.Equal(t, []string{"modelversion.model.kubedl.io/mv-3", "model.model.kubedl.io/resnet", "modelversion.model.kubedl.io/mv-2"}, names)
}

// A tree ends, whatever users have declared.
func TestTree_baseModels(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	base := func(name string) v1alpha1.LineageFact {
		return fact("Declared", v1alpha1.BaseModelFact, named("ModelVersion "+name))
	}
	newVersionOf(t, ns, "itself", base("itself"))
	newVersionOf(t, ns, "circle-1", base("circle-2"))
	newVersionOf(t, ns, "circle-2", base("circle-1"))
	newVersionOf(t, ns, "replaced", fact("Observed", v1alpha1.BaseModelFact, func(f *v1alpha1.LineageFact) {
		f.Name, f.Digest = "ModelVersion itself", digestOf("before")
	}))
	newVersionOf(t, ns, "invalid", base("a/../b"), base("never-made"))
	for i := range maxGenerations + 2 {
		newVersionOf(t, ns, fmt.Sprintf("v%d", i), base(fmt.Sprintf("v%d", i+1)))
	}
	tests := map[string]struct{ version, want string }{
		"itself":             {"itself", "base  ModelVersion itself  declared\n  └── shown above\n"},
		"a circle":           {"circle-1", "base  ModelVersion circle-1  declared\n  └── shown above\n"},
		"another image":      {"replaced", "  └── the ModelVersion of this name has another image now: " + digestOf("itself") + "\n"},
		"what is no name":    {"invalid", "base  ModelVersion a/../b  declared\n"},
		"what never existed": {"invalid", "base  ModelVersion never-made  declared\n  └── the ModelVersion does not exist, or was deleted\n"},
		"many generations":   {"v0", fmt.Sprintf("└── more is shown by kubectl kiln tree mv/v%d -n %s\n", maxGenerations+1, ns)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, inColumns(succeeds(t, ns, "tree", "mv/"+tt.version)), tt.want)
		})
	}
}

// A terminal gets no control characters, and a tree no lines, from what users declare.
func TestTree_hostileFacts(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	hostile := "\x1b[2J\n└── a\tb\u202ec"
	var facts []v1alpha1.LineageFact
	for _, kind := range append([]v1alpha1.LineageKind{v1alpha1.WorkloadFact, v1alpha1.LicenseFact, v1alpha1.PropertyFact, v1alpha1.MetricFact}, trainingKinds...) {
		facts = append(facts, v1alpha1.LineageFact{Origin: v1alpha1.FileFact, Kind: kind, Name: hostile, URI: hostile, Digest: hostile, Value: hostile, Dataset: hostile, Source: hostile, Contradicts: hostile})
	}
	newVersionOf(t, ns, "mv-1", facts...)
	out := succeeds(t, ns, "tree", "mv/mv-1")
	assert.NotContains(t, out, "\x1b")
	assert.NotContains(t, out, "\u202e")
	assert.Equal(t, 2*len(facts)+3, strings.Count(out, "\n"), "two lines for each fact, but one for both cards, and four of the ModelVersion: %s", out)
	assert.NotContains(t, succeeds(t, ns, "uses", "--dataset", hostile), "\x1b")
}

func TestMadeFrom(t *testing.T) {
	mv := &v1alpha1.ModelVersion{}
	assert.Empty(t, madeFrom(mv))
	mv.Status.Lineage = &v1alpha1.LineageStatus{}
	for i := range maxOrigins + 2 {
		mv.Status.Lineage.Facts = append(mv.Status.Lineage.Facts, fact("Declared", v1alpha1.DatasetFact, named(fmt.Sprintf("%d\x1b", i))))
	}
	assert.Equal(t, "data 0 (declared), data 1 (declared), data 2 (declared), data 3 (declared), and 2 more", madeFrom(mv))
}

func TestThing(t *testing.T) {
	tests := map[string]struct {
		fact v1alpha1.LineageFact
		want string
	}{
		"resource":           {v1alpha1.LineageFact{Kind: v1alpha1.DatasetFact, Name: "faces", URI: "s3://data/faces", Digest: "sha256:ab"}, "faces s3://data/faces sha256:ab"},
		"digest in URI":      {v1alpha1.LineageFact{Kind: v1alpha1.ImageFact, URI: "train@sha256:ab", Digest: "sha256:ab"}, "train@sha256:ab"},
		"license":            {v1alpha1.LineageFact{Kind: v1alpha1.LicenseFact, Value: "other", URI: "https://example.com/license"}, "license other (https://example.com/license)"},
		"metric":             {v1alpha1.LineageFact{Kind: v1alpha1.MetricFact, Name: "accuracy", Value: "0.9", Dataset: "faces"}, "accuracy 0.9 (faces)"},
		"parameter":          {v1alpha1.LineageFact{Kind: v1alpha1.ParameterFact, Name: "epochs", Value: "3"}, "epochs 3"},
		"of an unknown kind": {v1alpha1.LineageFact{Kind: "Weather", Name: "rain"}, "rain"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, thing(tt.fact)) })
	}
}
