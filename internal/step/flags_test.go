package step

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLists(t *testing.T) {
	tests := map[string]struct {
		value string
		want  []string
	}{
		"nothing":                       {value: ""},
		"one":                           {value: "a:5000", want: []string{"a:5000"}},
		"several, with spaces and gaps": {value: " a:5000,,/b c ,", want: []string{"a:5000", "/b c"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := []string{"what was given before"}
			require.NoError(t, list(&got)(tt.value))
			assert.Equal(t, tt.want, got)
		})
	}
}
