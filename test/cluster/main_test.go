package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRunUsageErrors(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no command":                   {want: "no command given"},
		"an unknown command":           {args: []string{"start"}, want: `unknown command "start"`},
		"an unknown flag of up":        {args: []string{"up", "--serving"}, want: "not defined: -serving"},
		"an unexpected argument of up": {args: []string{"up", "training"}, want: `unexpected argument "training" of up`},
		"an unknown flag of assets":    {args: []string{"assets", "--newest"}, want: "not defined: -newest"},
		"a hidden command":             {args: []string{"node-enter"}, want: "it is for internal use only"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, run(tt.args), tt.want)
		})
	}
}
