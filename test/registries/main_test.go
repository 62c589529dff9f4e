// Package registries runs the steps of a build, as the processes that a pod
// runs, against real registries: distribution, which the test cluster runs too,
// olareg and the registry of go-containerregistry, and behind imitations of hosted
// ones. It needs neither a cluster nor root. Most tests build with the engine
// Stream; the matrix builds with both. What kubelet does is for test/e2e.
package registries

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	memory "github.com/google/go-containerregistry/pkg/registry"

	"github.com/modelkiln/modelkiln/internal/step"
)

// programs is the directory of the compiled programs.
var programs string

// stepProgram is what modelkiln-step runs. The tests run the program, which go test does not
// know: it must not reuse results from before the program changed, and the linker leaves out
// what nothing refers to.
var stepProgram = step.Main

// build is how a program is compiled.
type build struct {
	// dir is the directory of the module.
	dir string
	// arguments are those of go build after the usual ones: the package, with flags.
	arguments []string
	cgo       bool
}

var builds = []build{
	{dir: "../..", arguments: []string{"./cmd/modelkiln-step"}},
	{dir: "../cluster/tools/registry", arguments: []string{"tool"}},
	{dir: "../cluster/tools/kaniko", arguments: []string{"tool"}},
	{dir: "tools/distribution2", arguments: []string{"."}},
	{dir: "tools/olareg", arguments: []string{"tool"}},
	{dir: "../sigstore", arguments: []string{"."}},
	{dir: "../sources/tools/versitygw", arguments: []string{"tool"}},
}

func TestMain(m *testing.M) {
	if description := os.Getenv(containerVariable); description != "" {
		fmt.Fprintln(os.Stderr, "start the container:", enter(description))
		os.Exit(1)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if stepProgram == nil {
		return 1
	}
	dir, err := os.MkdirTemp("", "registries-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	programs = dir
	for _, b := range builds {
		if err := b.run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	// Builds wait longer than they compute, for limits of rates and for retries.
	const parallel = "4"
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// run compiles the program with the settings of test/cluster, so that packages are
// compiled once for both.
func (b build) run() error {
	arguments := append([]string{"build", "-C", b.dir, "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", programs + "/"}, b.arguments...)
	command := exec.Command("go", arguments...)
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	if b.cgo {
		command.Env = append(command.Env, "CGO_ENABLED=1")
	}
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s in %s: %w\n%s", b.arguments, b.dir, err, out)
	}
	return nil
}

// startMemory starts the registry of go-containerregistry and returns its host
// and port.
func startMemory(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(memory.New(memory.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// startOpen starts a distribution that everyone can push to and returns its host
// and port.
func startOpen(t *testing.T) string {
	t.Helper()
	return startDistribution(t).host
}

// registries start each registry that the steps are tested against.
var registries = map[string]func(t *testing.T) string{
	"distribution 3":       startOpen,
	"distribution 2.8":     func(t *testing.T) string { t.Helper(); return startDistributionOf(t, "distribution2").host },
	"olareg":               startOlareg,
	"go-containerregistry": startMemory,
}

// forEachRegistry runs a subtest with each registry.
func forEachRegistry(t *testing.T, test func(t *testing.T, registry string)) {
	t.Helper()
	for name, start := range registries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

func program(name string) string { return filepath.Join(programs, name) }
