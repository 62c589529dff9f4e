package step

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/kaniko"
	"github.com/modelkiln/modelkiln/internal/version"
)

func TestMainUsage(t *testing.T) {
	tests := map[string]struct {
		args   []string
		want   int
		output string
	}{
		"no command":         {want: exitUsage, output: "usage: modelkiln-step COMMAND"},
		"an unknown command": {args: []string{"bake"}, want: exitUsage, output: `unknown command "bake"`},
		"an unknown flag":    {args: []string{"pack", "--x"}, want: exitUsage, output: "flag provided but not defined"},
		"an argument":        {args: []string{"output", "x"}, want: exitUsage, output: `accepts flags only, not the argument "x"`},
		"an invalid value":   {args: []string{"mount-check", "--push-secret-required=perhaps"}, want: exitUsage, output: `invalid value "perhaps" for flag -push-secret-required: must be true or false`},
		"help":               {args: []string{"--help"}, want: exitOK, output: "mount-check"},
		"the version":        {args: []string{"--version"}, want: exitOK, output: "modelkiln-step " + version.Get().String() + "\n"},
		"help of a command":  {args: []string{"build", "-h"}, want: exitOK, output: "-created-by"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			assert.Equal(t, tt.want, Main(t.Context(), tt.args, &out, &out))
			assert.Contains(t, out.String(), tt.output)
		})
	}
}

func TestMainTerminated(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	args := append(p.command("mount-check"), p.registryArgs()...)
	args = append(args, p.storage...)
	code := Main(ctx, append(args, "--source="+p.path("source"), "--program="+os.Args[0]), &out, &out)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonPodLost, "the pod was terminated", code, out.String())
	assert.True(t, p.report(t).Failure.Transient, "another pod may succeed")
}

// Kubelet terminates a pod that exceeds its disk limit in the same way as one on a
// node that is drained.
func TestTerminated(t *testing.T) {
	assert.True(t, terminated(context.Canceled).Transient)
	assert.False(t, terminated(kaniko.ErrNearDiskLimit).Transient)
}
