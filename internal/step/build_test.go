package step

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestTheBaseImagesUserIsCheckedBeforeTheBuild(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	p.base = p.host + "/base/odd:1"
	p.put(t, configured(t, randomImage(t), v1.Config{User: "a\nRUN id"}), p.base)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	code, printed = p.build(t)
	p.assertFailed(t, "build", v1alpha1.ReasonInvalidSpec, "is neither a name nor a number", code, printed)
}

func TestUnescape(t *testing.T) {
	assert.Equal(t, "Ann & Bob\n", unescape("Ann+%26+Bob%0A"))
	assert.Equal(t, "100% Ann", unescape("100% Ann"))
}

// Kubelet ends a pod that fills the disk as it ends one of a node that is
// drained.
func TestABuildThatIsStoppedNearItsDiskLimitIsNotTriedAgain(t *testing.T) {
	tests := map[string]struct {
		told  string
		limit int
		want  bool
	}{
		"far from the limit":                 {told: "10/100", limit: 40, want: true},
		"near the limit":                     {told: "20/100", limit: 40, want: false},
		"without a limit":                    {told: "20/100", limit: 0, want: true},
		"before anything was copied":         {told: "", limit: 40, want: true},
		"with progress that nobody can read": {told: "much", limit: 40, want: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			code, printed := p.mountCheck(t)
			require.Equal(t, exitDone, code, printed)
			p.write(t, "progress", tt.told)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var out bytes.Buffer
			args := append(p.command("build"), p.buildArgs()...)
			args = append(args, "--progress-file="+p.at("progress"), fmt.Sprintf("--disk-limit=%d", tt.limit))

			code = Main(ctx, args, &out, &out)
			p.assertFailed(t, "build", v1alpha1.ReasonPodLost, "its pod was told to end", code, out.String())
			assert.Equal(t, tt.want, p.report(t).Failure.Transient)
		})
	}
}
