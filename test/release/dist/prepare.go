package dist

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/modelkiln/modelkiln/test/release/chart"
)

// tagged are the files whose images have the version of the release.
var tagged = []string{"deploy/manager/deployment.yaml", "workflow-templates/kaniko/modelkiln-build.yaml", "workflow-templates/stream/patch.yaml"}

var ownImage = regexp.MustCompile(`(: ` + regexp.QuoteMeta(chart.OperatorImage) + `(?:-step)?):\S+`)

// Prepare writes a version to the manifests of the checkout, and generates the chart, so
// that both install it when the commit is tagged.
func Prepare(root, version string) error {
	if !versionTag.MatchString(version) {
		return fmt.Errorf("VERSION=%q is not a version such as v0.2.0 or v0.2.0-rc.1. Example: make prepare-release VERSION=v0.2.0", version)
	}
	for _, path := range tagged {
		path = filepath.Join(root, path)
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, ownImage.ReplaceAll(content, []byte("${1}:"+version)), 0o644); err != nil {
			return err
		}
	}
	return chart.Generate(root)
}
