package registries

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/test/golden"
	"github.com/modelkiln/modelkiln/test/registries/content"
	"github.com/modelkiln/modelkiln/test/registries/imitation"
)

// row is a registry of the matrix.
type row struct {
	name  string
	start func(t *testing.T) *target
}

// realRows are the registries that are compiled from Go modules. Their versions are
// those of their go.mod.
var realRows = []row{
	{name: "distribution 3.1, token, HTTPS", start: withTokens("registry")},
	{name: "distribution 3.1, password, HTTPS", start: withPassword("registry")},
	{name: "distribution 2.8, token, HTTPS", start: withTokens("distribution2")},
	{name: "distribution 2.8, password, HTTPS", start: withPassword("distribution2")},
	{name: "olareg 0.1, HTTPS", start: encryptedTarget(false, func(t *testing.T, _ tls.Certificate) string { t.Helper(); return startOlareg(t) })},
	{name: "go-containerregistry 0.22", start: openTarget(startMemory)},
}

// imitatedRows are the imitations.
func imitatedRows() []row {
	var rows []row
	for _, of := range slices.Concat(imitation.Hosted, imitation.Gateways) {
		rows = append(rows, row{name: of.Name, start: imitated(of)})
	}
	return rows
}

// scenarios are the builds of a row, one after the other.
var scenarios = []struct {
	name string
	// change changes the model of the build before.
	change func(t *testing.T, g *target, p *pod)
}{
	{"first", func(t *testing.T, _ *target, p *pod) {
		t.Helper()
		content.WriteRandom(t, p.source("embeddings.bin"), large)
		content.WriteRandom(t, p.source("weights.bin"), large)
		p.write(t, "config.json", `{"layers": 2}`)
		p.write(t, "tokenizer/vocab.json", `{}`)
	}},
	{"unchanged", func(*testing.T, *target, *pod) {}},
	{"changed", func(t *testing.T, _ *target, p *pod) { t.Helper(); p.rewriteWeights(t, time.Now().Add(time.Minute)) }},
	{"resumed", func(t *testing.T, g *target, p *pod) {
		t.Helper()
		for _, name := range []string{"embeddings", "weights"} {
			require.NoError(t, os.Remove(p.source(name+".bin")))
			content.WriteRandom(t, p.source(name+"-2.bin"), large)
		}
		g.cut.Store(true)
	}},
}

// cell is what came of one build.
type cell struct {
	outcome string
	// sent is what was sent in relation to the size of the model.
	sent    float64
	seconds float64
}

// String returns what is the same in every run.
func (c cell) String() string {
	if strings.HasPrefix(c.outcome, ready) {
		return c.outcome + ", " + share(c.sent)
	}
	return c.outcome
}

// share returns a part of the model in per cent. How much is sent twice depends on
// when a connection ends.
func share(sent float64) string {
	const step = 10
	if percent := int(math.Round(sent*100/step)) * step; percent <= 100 {
		return fmt.Sprintf("%d %%", percent)
	}
	return "over 100 %"
}

var engines = []v1alpha1.BuildEngine{v1alpha1.Stream, v1alpha1.Kaniko}

// TestMatrix builds with both engines, and with every registry. The images hold
// exactly the model, or the reason is the expected one. The table is in
// api/docs/registries.md:
//
//	go test ./test/registries -update
func TestMatrix(t *testing.T) {
	for _, section := range []struct {
		name string
		rows []row
	}{{"real", realRows}, {"imitated", imitatedRows()}} {
		t.Run(section.name, func(t *testing.T) {
			t.Parallel()
			runMatrix(t, section.name, section.rows)
		})
	}
}

// runMatrix runs the rows, and compares their table with the documented one.
func runMatrix(t *testing.T, section string, rows []row) {
	t.Helper()
	var mu sync.Mutex
	cells := map[string][]cell{}
	t.Run("rows", func(t *testing.T) {
		for _, r := range rows {
			for _, engine := range engines {
				t.Run(r.name+"/"+string(engine), func(t *testing.T) {
					t.Parallel()
					got := r.run(t, engine)
					mu.Lock()
					defer mu.Unlock()
					cells[r.name+string(engine)] = got
				})
			}
		}
	})
	if len(cells) != len(rows)*len(engines) || t.Failed() {
		return // -run has chosen some, or one has failed.
	}
	assertTable(t, section, rows, cells, cell.String)
	if golden.Update() {
		assertTable(t, section+" seconds", rows, cells, func(c cell) string { return fmt.Sprintf("%.1f", c.seconds) })
	}
}

// document is held by the test that compares or writes the document.
var document sync.Mutex

// assertSection compares a text with a section of the document.
func assertSection(t *testing.T, section, text string) {
	t.Helper()
	document.Lock()
	defer document.Unlock()
	golden.AssertSection(t, "../../api/docs/registries.md", "<!-- begin "+section+" -->", "<!-- end "+section+" -->", text)
}

func assertTable(t *testing.T, section string, rows []row, cells map[string][]cell, text func(cell) string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("| registry | engine |")
	for _, s := range scenarios {
		fmt.Fprintf(&b, " %s |", s.name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(scenarios)) + "\n")
	for _, r := range rows {
		for _, engine := range engines {
			fmt.Fprintf(&b, "| %s | %s |", r.name, engine)
			for _, c := range cells[r.name+string(engine)] {
				fmt.Fprintf(&b, " %s |", text(c))
			}
			b.WriteString("\n")
		}
	}
	assertSection(t, section, b.String())
}

// run runs the builds of a row with one engine.
func (r row) run(t *testing.T, engine v1alpha1.BuildEngine) []cell {
	t.Helper()
	g := r.start(t)
	base := path.Dir(cmp.Or(g.repository, "library/resnet")) + "/base:1"
	pushImage(t, g.pullHost+"/"+base, v1.Config{Env: []string{"PATH=/bin"}}, g.options...)
	cells := make([]cell, len(scenarios))
	p := &pod{}
	for i, scenario := range scenarios {
		next := g.newPod(t)
		next.setEngine(engine)
		next.baseImage, next.previousImage = g.host+"/"+base, p.previousImage
		next.tag, next.version, next.uid = fmt.Sprint("v", i+1), fmt.Sprint("resnet-v", i+1), fmt.Sprint("uid-", i+1)
		next.model = cmp.Or(p.model, next.model)
		p = next
		scenario.change(t, g, p)
		cells[i] = g.builds(t, p)
		t.Logf("%s: %s, %.2f sent, %.1f s", scenario.name, cells[i].outcome, cells[i].sent, cells[i].seconds)
	}
	return cells
}

// builds runs a build that must succeed, and makes its image the previous one.
func (g *target) builds(t *testing.T, p *pod) cell {
	t.Helper()
	g.sent.Store(0)
	toCut := g.cut.Load()
	began := time.Now()

	left, outcome := p.runRetried(t)

	got := cell{outcome: outcome, seconds: time.Since(began).Seconds(), sent: float64(g.sent.Load()) / (2 * large)}
	require.Nil(t, left.Failure)
	assert.False(t, toCut && g.cut.Load(), "a request was cut")
	pushed := content.OfImage(t, g.pullHost+"/"+p.repository+":"+p.tag, g.options...)
	assert.Equal(t, content.OfDirectory(t, p.model), pushed.Model)
	assert.Contains(t, pushed.Config.Env, "PATH=/bin", "that of the base image")
	assert.Equal(t, pushed.Digest, left.Image.Digest)
	p.previousImage = p.registry + "/" + p.repository + "@" + left.Image.Digest
	return got
}

// ready is what comes of a build that succeeds.
const ready = "Ready"

// maxRetries is how many times the template retries a transient failure.
const maxRetries = 3

// runRetried runs the steps, in new pods while the failure is transient, and
// returns the last report and what came of it in words.
func (p *pod) runRetried(t *testing.T) (left report.Report, outcome string) {
	t.Helper()
	for retries := 0; ; retries++ {
		left, logs := p.runAll(t)
		if left.Failure != nil {
			t.Logf("%s: %s", left.Failure.Reason, left.Failure.Message)
		}
		switch {
		case left.Failure == nil && left.Image.HeldBack != "":
			return left, ready + " (" + v1alpha1.ReasonHeldByPolicy + ")"
		case left.Failure == nil && retries == 0:
			return left, ready
		case left.Failure == nil:
			return left, ready + " when retried"
		case !left.Failure.Transient || retries == maxRetries:
			t.Log(logs)
			return left, left.Failure.Reason
		}
		p.replace(t)
	}
}

// replace gives the pod the empty directories of a new one.
func (p *pod) replace(t *testing.T) {
	t.Helper()
	for _, name := range []string{"kiln", "termination-log"} {
		require.NoError(t, os.RemoveAll(p.path(name)))
	}
	require.NoError(t, os.Mkdir(p.path("kiln"), 0o755))
}
