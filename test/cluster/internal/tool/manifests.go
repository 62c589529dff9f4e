package tool

import (
	"fmt"
	"os"
	"path/filepath"
)

// Manifests is the folder of the tool's own manifests, in the version that was compiled.
func (t Tool) Manifests() string { return t.Program("manifests") }

// withManifests compiles as usual, and takes along the folder of the module's own manifests, because they are applied in the
// version that runs.
func withManifests(folder string) func(builder) error {
	return func(b builder) error {
		module, err := b.moduleFolder()
		if err != nil {
			return err
		}
		if err := b.goBuild(b.tool.source, "tool"); err != nil {
			return err
		}
		if err := os.CopyFS(filepath.Join(b.bin(), "manifests"), os.DirFS(filepath.Join(module, folder))); err != nil {
			return fmt.Errorf("cannot copy the manifests of %s: %w", b.tool.name, err)
		}
		return nil
	}
}
