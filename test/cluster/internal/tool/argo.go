package tool

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/modelkiln/modelkiln/test/cluster/internal/golang"
)

// argoPrograms are the packages of Argo's module that the cluster runs.
var argoPrograms = []string{"./cmd/argo", "./cmd/argoexec", "./cmd/workflow-controller"}

// buildArgo compiles Argo in a copy of its module, with Argo's own pins. It cannot be compiled from the module cache:
// a module's zip file holds no symbolic links and no built front end, and both are needed.
// The manifests come along, because they are applied in the version that runs.
func buildArgo(b builder) error {
	module, err := b.moduleFolder()
	if err != nil {
		return err
	}
	src := filepath.Join(b.work, "src")
	if err := os.CopyFS(src, os.DirFS(module)); err != nil {
		return fmt.Errorf("cannot copy the source of argo: %w", err)
	}

	// Upstream, signal_linux.go is a symbolic link to signal_darwin.go.
	signals := filepath.Join(src, "workflow", "executor", "osspecific")
	if err := os.Symlink("signal_darwin.go", filepath.Join(signals, "signal_linux.go")); err != nil {
		return err
	}
	// The server embeds its web pages. Its API and the command line work without; the page itself is then blank.
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

// moduleFolder is where the module cache holds the tool's module, fetched and checked against go.sum.
func (b builder) moduleFolder() (string, error) {
	var out string
	err := b.logged(func(log io.Writer) (err error) {
		out, err = golang.Run(b.ctx, b.tool.source, log, "mod", "download", "-json", b.tool.module)
		return err
	})
	if err != nil {
		return "", err
	}
	var download struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &download); err != nil {
		return "", fmt.Errorf("cannot read what go mod download said about %s: %w", b.tool.module, err)
	}
	return download.Dir, nil
}
