package text

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestJSONValues(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want int
	}{
		"an object":               {`{"a": 1, "b": 2}`, 2},
		"lists":                   {`[[], {}, null]`, 5},
		"text":                    {`"{[,"`, 0},
		"an escaped quote":        {`{"a": "\",,,"}`, 1},
		"an escaped backslash":    {`{"a": "\\", "b": ","}`, 2},
		"what ends in the middle": {`{"a`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			for split := range len(tt.text) {
				var counted JSONValues
				for _, part := range []string{tt.text[:split], tt.text[split:]} {
					n, err := counted.Write([]byte(part))
					require.NoError(t, err)
					assert.Len(t, part, n)
				}
				assert.Equal(t, tt.want, counted.Count, "split at %d", split)
			}
		})
	}
}
