package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	repositoryPath = regexp.MustCompile(`\b(?:internal|test|api|cmd|deploy|workflow-templates)/[A-Za-z0-9_./-]*[A-Za-z0-9_]`)
	goFile         = regexp.MustCompile(`\b[a-z_]+\.go\b`)
	// treeFunction matches the function at a branch of the diagram of a pass.
	treeFunction = regexp.MustCompile(`[├└]─ (?:lifecycle\.)?([A-Za-z]+)`)
)

func TestContributingNamesPathsThatExist(t *testing.T) {
	for _, path := range repositoryPath.FindAllString(readFile(t, filepath.Join(root, "CONTRIBUTING.md")), -1) {
		_, err := os.Stat(filepath.Join(root, strings.TrimSuffix(path, "/")))
		assert.NoError(t, err, path)
	}
}

func TestContributingNamesFilesAndFunctionsThatExist(t *testing.T) {
	files := map[string]bool{}
	var source strings.Builder
	for _, dir := range []string{"api", "cmd", "internal"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if filepath.Ext(path) == ".go" {
				files[filepath.Base(path)] = true
				source.WriteString(readFile(t, path))
			}
			return err
		}))
	}
	text := readFile(t, filepath.Join(root, "CONTRIBUTING.md"))
	for _, file := range goFile.FindAllString(text, -1) {
		assert.True(t, files[file], file)
	}
	functions := treeFunction.FindAllStringSubmatch(text, -1)
	require.NotEmpty(t, functions)
	for _, function := range functions {
		if name := function[1]; name != "if" {
			declaration := regexp.MustCompile(`\nfunc (\([^)]*\) )?` + name + `\(`)
			assert.True(t, declaration.MatchString(source.String()), name)
		}
	}
}
