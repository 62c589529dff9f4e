package report_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/report"
)

// A text is a report that can be written and read again, or an error.
func FuzzParse(f *testing.F) {
	raw, err := json.Marshal(full())
	require.NoError(f, err)
	for _, seed := range []string{string(raw), "", "{}", "null", "[]", `{"image":{"bytes":1e400}}`, `{"run":{"image":"\ud800"}}`, strings.Repeat("[", 1000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := report.Parse(text)
		if err != nil {
			assert.Empty(t, r)
			return
		}
		assert.LessOrEqual(t, len(text), report.MaxSize)
		raw, err := json.Marshal(r)
		require.NoError(t, err)
		again, err := report.Parse(string(raw))
		require.NoError(t, err)
		assert.Equal(t, r, again)
	})
}
