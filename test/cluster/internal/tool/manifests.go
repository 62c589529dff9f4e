package tool

import (
	"fmt"
	"os"
	"path/filepath"
)

// Manifests returns the directory of the tool's manifests, in the version that was compiled.
func (t Tool) Manifests() string { return t.Program("manifests") }

// withManifests returns a build function that compiles the tool and copies its module's manifests from dir, because the
// cluster applies the manifests of the version that it runs.
func withManifests(dir string) func(builder) error {
	return func(b builder) error {
		module, err := b.moduleDir()
		if err != nil {
			return err
		}
		if err := b.goBuild(b.tool.source, "tool"); err != nil {
			return err
		}
		if err := os.CopyFS(filepath.Join(b.bin(), "manifests"), os.DirFS(filepath.Join(module, dir))); err != nil {
			return fmt.Errorf("cannot copy the manifests of %s: %w", b.tool.name, err)
		}
		return nil
	}
}
