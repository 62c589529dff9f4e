package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

var repositoryPath = regexp.MustCompile(`\b(?:internal|test|api|cmd|deploy|workflow-templates)/[A-Za-z0-9_./-]*[A-Za-z0-9_]`)

func TestContributingNamesPathsThatExist(t *testing.T) {
	for _, path := range repositoryPath.FindAllString(readFile(t, filepath.Join(root, "CONTRIBUTING.md")), -1) {
		_, err := os.Stat(filepath.Join(root, strings.TrimSuffix(path, "/")))
		assert.NoError(t, err, path)
	}
}
