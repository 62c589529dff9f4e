package dist

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/modelkiln/modelkiln/test/release/chart"
)

// tagged match the files that name images of Modelkiln.
var tagged = []string{"deploy/manager/*.yaml", "workflow-templates/*.yaml", "workflow-templates/*/*.yaml"}

var ownImage = regexp.MustCompile(`(: ` + regexp.QuoteMeta(chart.OperatorImage) + `(?:-step)?):\S+`)

// Prepare writes a version to the manifests of the checkout, and generates the chart, so
// that both install it when the commit is tagged.
func Prepare(root, version string) error {
	if !isVersion(version) {
		return fmt.Errorf("VERSION=%q is not a version such as v0.2.0 or v0.2.0-rc.1. Example: make prepare-release VERSION=v0.2.0", version)
	}
	for _, pattern := range tagged {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := tag(path, version); err != nil {
				return err
			}
		}
	}
	return chart.Generate(root)
}

// tag writes a version to the images of Modelkiln in a file.
func tag(path, version string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, ownImage.ReplaceAll(content, []byte("${1}:"+version)), 0o644)
}
