package node

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	const rest = " 1 123 123 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 238581 1234 5678"
	tests := map[string]struct {
		line        string
		wantState   string
		wantStarted string
	}{
		"a plain name":                     {line: "123 (kubelet) S" + rest, wantState: "S", wantStarted: "238581"},
		"a name with a space":              {line: "123 (tmux: server) R" + rest, wantState: "R", wantStarted: "238581"},
		"a name that looks like the field": {line: "123 (a) Z 1 (b) D" + rest, wantState: "D", wantStarted: "238581"},
		"a zombie":                         {line: "123 (sh) Z" + rest, wantState: "Z", wantStarted: "238581"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			state, started, err := parseStat(tt.line)
			require.NoError(t, err)
			assert.Equal(t, tt.wantState, state)
			assert.Equal(t, tt.wantStarted, started)
		})
	}
}

func TestParseStatErrors(t *testing.T) {
	for name, line := range map[string]string{"empty": "", "without a name": "1 2 3", "truncated": "123 (kubelet) S 1 123"} {
		t.Run(name, func(t *testing.T) {
			_, _, err := parseStat(line)
			require.ErrorContains(t, err, "does not have the format of /proc/PID/stat")
		})
	}
}
