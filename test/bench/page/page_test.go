package page_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/bench/page"
)

func TestWriteSection(t *testing.T) {
	cases := map[string]struct{ before, want string }{
		"no file content":  {"", "# B\n\nnew\n"},
		"a new section":    {"# A\n\n## a\n", "# A\n\n## a\n\n# B\n\nnew\n"},
		"the only section": {"# B\n\nold\n\n## b\n", "# B\n\nnew\n"},
		"the first one":    {"# B\n\nold\n\n# C\n\nc\n", "# B\n\nnew\n\n# C\n\nc\n"},
		"the last one":     {"# A\n\na\n\n# B\n\nold\n", "# A\n\na\n\n# B\n\nnew\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "README.md")
			require.NoError(t, os.WriteFile(file, []byte(tc.before), 0o600))
			require.NoError(t, page.WriteSection(file, "B", "new\n"))
			got, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, tc.want, string(got))
		})
	}
}

func TestChart(t *testing.T) {
	groups := []page.Group{
		{Title: "seconds", Bars: []page.Bar{{Name: "one", Value: 1, Label: "1 s"}, {Name: "two", Value: 2, Label: "2 s", Own: true}}},
		{Title: "requests", Bars: []page.Bar{{Name: "one", Value: 100, Label: "100"}}},
	}
	assert.Contains(t, page.Chart(groups, true), `width="460" height="16" fill="#2f6fab"/>`, "the longest of its group")
	assert.Contains(t, page.Chart(groups, false), `width="9" height="16" fill="#2f6fab"/>`, "2 of 100")
}
