// Package registries runs the steps of a build, as the processes that a pod
// runs, against real registries: distribution, which the test cluster runs too,
// and the registry of go-containerregistry. It needs neither a cluster nor root.
// Kaniko is not run here, since it takes the file system of its container for its
// own: images are built with the engine Stream. What Kaniko and kubelet do is for
// test/e2e.
package registries

import (
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

	// The tests run a program that is compiled from this package, so that go
	// test must not reuse results from before it changed.
	_ "github.com/modelkiln/modelkiln/internal/step"
)

// programs is the directory of the compiled programs.
var programs string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "registries-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	programs = dir
	for source, packages := range map[string]string{
		"../..":                     "./cmd/modelkiln-step",
		"../cluster/tools/registry": "tool",
	} {
		// With the settings of test/cluster, so that packages are compiled once for both.
		build := exec.Command("go", "build", "-C", source, "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", dir+"/", packages)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "compile %s: %v\n%s", packages, err, out)
			return 1
		}
	}
	return m.Run()
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
	"distribution":         startOpen,
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
