package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun_WrongArguments(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no command":            {want: "a command is missing"},
		"an unknown command":    {args: []string{"start"}, want: `"start" is not a command`},
		"an unknown flag of up": {args: []string{"up", "--serving"}, want: "not defined: -serving"},
		"an argument of up":     {args: []string{"up", "training"}, want: `up takes no argument "training"`},
		"a command of the node": {args: []string{"node-enter"}, want: "not meant to be called by hand"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, run(tt.args), tt.want)
		})
	}
}
