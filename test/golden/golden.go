// Package golden compares what is rendered with files under version control. Run
// a test with -update to write its files:
//
//	go test ./internal/workflow ./internal/lifecycle ./internal/inject ./internal/metrics ./internal/sign ./test/docs -update
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

// Update reports whether golden files are written instead of compared.
func Update() bool { return *update }

// Cases returns the input files with this suffix in a directory under testdata,
// by the part of the name before the suffix. A directory without any fails the
// test.
func Cases(t *testing.T, dir, suffix string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*"+suffix))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	byName := map[string]string{}
	for _, file := range files {
		byName[strings.TrimSuffix(filepath.Base(file), suffix)] = file
	}
	return byName
}

// ReadYAML reads a YAML file into an object. An unknown field fails the test.
func ReadYAML(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(raw, into), file)
}

// AssertYAML compares a value, as YAML, with a golden file.
func AssertYAML(t *testing.T, file string, got any) {
	t.Helper()
	raw, err := yaml.Marshal(got)
	require.NoError(t, err)
	Assert(t, file, string(raw))
}

// Assert compares a text with a golden file.
func Assert(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run the test with -update to write the golden file")
	assert.Equal(t, string(want), got)
}

// Beside returns the file next to an input file that holds another part of the
// case: its name with one suffix replaced by another. It returns an empty string
// when the case has no such file.
func Beside(file, suffix, other string) string {
	beside := strings.TrimSuffix(file, suffix) + other
	if _, err := os.Stat(beside); err != nil {
		return ""
	}
	return beside
}
