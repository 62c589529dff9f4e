package golden

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// AssertSection compares a text with the part of a file between the lines begin
// and end. With -update, it replaces that part.
func AssertSection(t *testing.T, file, begin, end, got string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(raw), begin+"\n")
	require.True(t, found, "%s has no line %q", file, begin)
	_, after, found := strings.Cut(rest, end+"\n")
	require.True(t, found, "%s has no line %q", file, end)
	Assert(t, file, before+begin+"\n"+got+end+"\n"+after)
}
