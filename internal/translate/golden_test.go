package translate_test

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

// The golden files are written anew by
//
//	go test ./internal/translate -update
var update = flag.Bool("update", false, "write the golden files anew")

// cases are the input files of a testdata folder with this suffix, by the name
// that comes before it.
func cases(t *testing.T, folder, suffix string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*"+suffix))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	byName := map[string]string{}
	for _, file := range files {
		byName[strings.TrimSuffix(filepath.Base(file), suffix)] = file
	}
	return byName
}

// read reads a YAML file, in which every field must be known.
func read(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(raw, into), file)
}

// golden compares a value with the YAML file that says what it should be.
func golden(t *testing.T, file string, got any) {
	t.Helper()
	raw, err := yaml.Marshal(got)
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(file, raw, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run the test with -update to write the golden file")
	assert.Equal(t, string(want), string(raw))
}
