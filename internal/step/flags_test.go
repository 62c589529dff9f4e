package step

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestList(t *testing.T) {
	tests := map[string]struct {
		value string
		want  []string
	}{
		"an empty value":         {value: ""},
		"one item":               {value: "a:5000", want: []string{"a:5000"}},
		"spaces and empty items": {value: " a:5000,,/b c ,", want: []string{"a:5000", "/b c"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := []string{"an earlier value"}
			require.NoError(t, list(&got)(tt.value))
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestBoolean(t *testing.T) {
	got := true
	require.NoError(t, boolean(&got)(""))
	assert.False(t, got)
	require.NoError(t, boolean(&got)("true"))
	assert.True(t, got)
	require.Error(t, boolean(&got)("perhaps"))
}

func TestUnescape(t *testing.T) {
	assert.Equal(t, "Ann & Bob\n", unescape("Ann+%26+Bob%0A"))
	assert.Equal(t, "100% Ann", unescape("100% Ann"))
}
