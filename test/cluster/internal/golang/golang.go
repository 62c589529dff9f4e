// Package golang calls the Go command, always with the same settings, so that what it makes depends on the source alone.
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

// oldestMinor is the minor version of the oldest Go 1 that compiles the cluster and Modelkiln.
const oldestMinor = 26

// Build is a call of `go build` that makes static programs.
type Build struct {
	// Dir is a folder of the module.
	Dir string
	// Packages are the main packages, as the Go command takes them.
	Packages []string
	// Output is the folder for the programs.
	Output string
	// Variables are string variables that the linker sets, each as path.name=value.
	Variables []string
	// Complaints receives what the Go command has to say.
	Complaints io.Writer
}

// Run compiles the programs. One that is there and up to date is left as it is.
func (b Build) Run(ctx context.Context) error {
	_, err := Run(ctx, b.Dir, b.Complaints, b.args()...)
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

// Run calls the Go command in dir and gives what it wrote. What it complained of goes to complaints.
func Run(ctx context.Context, dir string, complaints io.Writer, args ...string) (string, error) {
	var out strings.Builder
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH, "GOWORK=off", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = &out, complaints
	// Interrupting the Go command lets it remove its own work folder.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("the go command is missing; install Go 1.%d or newer and put it on the PATH", oldestMinor)
	case ctx.Err() != nil:
		return "", ctx.Err()
	}
	return out.String(), err
}

// CheckVersion says what is wrong with the Go command that works in dir, before it does so in words that do not help. Dir
// matters because Go may fetch the version that a module asks for.
func CheckVersion(ctx context.Context, dir string) error {
	var complaints strings.Builder
	version, err := Run(ctx, dir, &complaints, "env", "GOVERSION")
	if err != nil && complaints.Len() > 0 {
		return fmt.Errorf("the go command on the PATH does not work, and Modelkiln needs Go 1.%d or newer: %s", oldestMinor, strings.TrimSpace(complaints.String()))
	}
	if err != nil {
		return err
	}
	return checkVersion(strings.TrimSpace(version))
}

// checkVersion judges a version as the Go command gives it, such as go1.26.1 or go1.27rc1. A development version, which
// has no number, is taken for a new one.
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
		return fmt.Errorf("the go command on the PATH is %s, and Modelkiln needs Go 1.%d or newer; get it from https://go.dev/dl", version, oldestMinor)
	}
	return nil
}
