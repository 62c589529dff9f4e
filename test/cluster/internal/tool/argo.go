package tool

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/modelkiln/modelkiln/test/cluster/internal/golang"
)

// argoPrograms are the main packages of Argo's module that the cluster runs.
var argoPrograms = []string{"./cmd/argo", "./cmd/argoexec", "./cmd/workflow-controller"}

// buildArgo compiles Argo in a copy of its module, with the dependencies of Argo's own go.mod. It cannot be compiled in the
// module cache: it requires a symbolic link and the built web interface, and a module's zip file contains neither. It also
// copies the manifests, because the cluster applies those of the version that it runs.
func buildArgo(b builder) error {
	module, err := b.moduleDir()
	if err != nil {
		return err
	}
	src := filepath.Join(b.work, "src")
	if err := os.CopyFS(src, os.DirFS(module)); err != nil {
		return fmt.Errorf("cannot copy the source of argo: %w", err)
	}

	// In Argo's repository, signal_linux.go is a symbolic link to signal_darwin.go.
	signals := filepath.Join(src, "workflow", "executor", "osspecific")
	if err := os.Symlink("signal_darwin.go", filepath.Join(signals, "signal_linux.go")); err != nil {
		return err
	}
	// The server embeds the web interface. Its API and the argo command work without it; the web interface stays blank.
	pages := filepath.Join(src, "ui", "dist", "app")
	if err := os.MkdirAll(pages, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(pages, "index.html"), nil, 0o644); err != nil {
		return err
	}

	if err := b.goBuild(src, argoPrograms...); err != nil {
		return err
	}
	return os.Rename(filepath.Join(src, "manifests"), filepath.Join(b.bin(), "manifests"))
}

// moduleDir downloads the tool's module, verifies it against go.sum, and returns its directory in the module cache.
func (b builder) moduleDir() (string, error) {
	var out string
	err := b.withLog(func(log io.Writer) (err error) {
		out, err = golang.Run(b.ctx, b.tool.source, log, "mod", "download", "-json", b.tool.module)
		return err
	})
	if err != nil {
		return "", err
	}
	var download struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &download); err != nil {
		return "", fmt.Errorf("cannot parse the output of go mod download for %s: %w", b.tool.module, err)
	}
	return download.Dir, nil
}
