// Package registries runs the steps of a build, as the processes that a pod
// runs, against real registries: distribution, which the test cluster runs too,
// olareg and the registry of go-containerregistry, and behind imitations of hosted
// ones. It needs neither a cluster nor root. Most tests build with the engine
// Stream; the matrix builds with both. What kubelet does is for test/e2e.
package registries

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	memory "github.com/google/go-containerregistry/pkg/registry"

	// The tests run a program that is compiled from this package, so that go
	// test must not reuse results from before it changed.
	_ "github.com/modelkiln/modelkiln/internal/step"
)

// programs is the directory of the compiled programs.
var programs string

// sources are the packages of the programs, by the directory of their module.
var sources = map[string]string{
	"../..":                     "./cmd/modelkiln-step",
	"../cluster/tools/registry": "tool",
	"../cluster/tools/kaniko":   "tool",
	"tools/distribution2":       ".",
	"tools/olareg":              "tool",
}

func TestMain(m *testing.M) {
	if description := os.Getenv(containerVariable); description != "" {
		fmt.Fprintln(os.Stderr, "start the container:", enter(description))
		os.Exit(1)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "registries-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	programs = dir
	for source, packages := range sources {
		if err := compile(source, packages, "CGO_ENABLED=0"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// compile compiles a program with the settings of test/cluster, so that packages
// are compiled once for both.
func compile(source, packages string, environment ...string) error {
	build := exec.Command("go", "build", "-C", source, "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", programs+"/", packages)
	build.Env = slices.Concat(os.Environ(), []string{"GOWORK=off", "GOFLAGS="}, environment)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s in %s: %w\n%s", packages, source, err, out)
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
