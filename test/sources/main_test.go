package sources

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// versitygw is the path of the Versity Gateway.
var versitygw string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sources-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	versitygw = filepath.Join(dir, "versitygw")
	// With the settings of test/registries, so that packages are compiled once for both.
	build := exec.Command("go", "build", "-C", "tools/versitygw", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", dir+"/", "tool")
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "compile the Versity Gateway: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
