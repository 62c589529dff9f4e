// Package golden compares generated content with files on disk. Tests rewrite
// the files when they run with -update:
//
//	go test ./internal/metrics ./test/docs -update
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite golden files and generated documents")

// Update reports whether the test runs with -update.
func Update() bool { return *update }

// Assert asserts that the file at path holds got. With -update, it writes got to
// the file instead.
func Assert[T ~string | ~[]byte](t *testing.T, path string, got T) {
	t.Helper()
	if Update() {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run the test with -update to create the file")
	assert.Equal(t, string(want), string(got), "%s is out of date: run the test with -update", path)
}

// AssertSection asserts that the file at path holds got between the lines begin
// and end. With -update, it replaces that section of the file.
func AssertSection(t *testing.T, path, begin, end, got string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(raw), begin+"\n")
	require.True(t, found, "%s has no line %q", path, begin)
	_, after, found := strings.Cut(rest, end+"\n")
	require.True(t, found, "%s has no line %q", path, end)
	Assert(t, path, before+begin+"\n"+got+end+"\n"+after)
}
