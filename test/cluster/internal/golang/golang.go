// Package golang runs the go command, always with the same settings, so that the programs depend on the source only.
package golang

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// oldestMinor is the minor version of the oldest Go release that compiles the cluster and Modelkiln.
const oldestMinor = 26

// Build is an invocation of `go build` that builds static programs.
type Build struct {
	// Dir is a directory of the module.
	Dir string
	// Packages are the main packages, as arguments of the go command.
	Packages []string
	// Output is the directory for the programs.
	Output string
	// Variables are string variables that the linker sets, each as path.name=value.
	Variables []string
	// Stderr receives the error output of the go command.
	Stderr io.Writer
}

// Run compiles the programs. It does not replace a program that is up to date.
func (b Build) Run(ctx context.Context) error {
	_, err := Run(ctx, b.Dir, b.Stderr, b.args()...)
	return err
}

func (b Build) args() []string {
	linker := []string{"-s", "-w"}
	for _, variable := range b.Variables {
		linker = append(linker, "-X", variable)
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(linker, " "), "-o", b.Output + string(filepath.Separator)}
	return append(args, b.Packages...)
}

// Run runs the go command in dir and returns its output. Its error output goes to stderr.
func Run(ctx context.Context, dir string, stderr io.Writer, args ...string) (string, error) {
	var out strings.Builder
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH, "GOWORK=off", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = &out, stderr
	// On SIGINT, unlike on SIGKILL, the go command removes its work directory.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("the go command was not found; install Go 1.%d or newer and add it to the PATH", oldestMinor)
	case ctx.Err() != nil:
		return "", ctx.Err()
	}
	return out.String(), err
}

// CheckVersion returns an error if the go command does not work in dir or is too old. Its own errors would not name the
// cause. The result depends on dir because the go command may download the toolchain that a module requires.
func CheckVersion(ctx context.Context, dir string) error {
	var stderr strings.Builder
	version, err := Run(ctx, dir, &stderr, "env", "GOVERSION")
	if err != nil && stderr.Len() > 0 {
		return fmt.Errorf("the go command on the PATH failed; Modelkiln requires Go 1.%d or newer: %s", oldestMinor, strings.TrimSpace(stderr.String()))
	}
	if err != nil {
		return err
	}
	return checkVersion(strings.TrimSpace(version))
}

// checkVersion checks the output of `go env GOVERSION`, such as go1.26.1 or go1.27rc1. It accepts a development version,
// which has no number.
func checkVersion(version string) error {
	number, isRelease := strings.CutPrefix(version, "go1.")
	if !isRelease {
		return nil
	}
	end := strings.IndexFunc(number, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		number = number[:end]
	}
	if minor, err := strconv.Atoi(number); err == nil && minor < oldestMinor {
		return fmt.Errorf("the go command on the PATH is %s, but Modelkiln requires Go 1.%d or newer; get it from https://go.dev/dl", version, oldestMinor)
	}
	return nil
}
