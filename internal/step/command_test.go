package step

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestCallsThatAreWrong(t *testing.T) {
	tests := map[string]struct {
		args []string
		want int
		says string
	}{
		"no command":          {want: exitUsage, says: "usage: modelkiln-step COMMAND"},
		"an unknown command":  {args: []string{"bake"}, want: exitUsage, says: `there is no command "bake"`},
		"an unknown flag":     {args: []string{"pack", "--x"}, want: exitUsage, says: "flag provided but not defined"},
		"an argument":         {args: []string{"output", "x"}, want: exitUsage, says: "takes flags only"},
		"a value that is off": {args: []string{"mount-check", "--push-secret-required=perhaps"}, want: exitUsage, says: "perhaps"},
		"a call for help":     {args: []string{"build", "-h"}, want: exitDone, says: "-created-by"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			assert.Equal(t, tt.want, Main(t.Context(), tt.args, &out, &out))
			assert.Contains(t, out.String(), tt.says)
		})
	}
}

func TestABuildThatIsStoppedSaysSo(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	args := append(p.command("mount-check"), p.registryArgs()...)
	args = append(args, p.storage...)
	code := Main(ctx, append(args, "--source="+p.at("source"), "--program="+os.Args[0]), &out, &out)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonPodLost, "its pod was told to end", code, out.String())
	assert.True(t, p.report(t).Failure.Transient, "the next pod may be let to its end")
}
