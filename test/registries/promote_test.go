package registries

import (
	"os/exec"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// promotion returns the process of the step that moves the pod's tag to a digest.
func (p *pod) promotion(t *testing.T, digest string) *exec.Cmd {
	t.Helper()
	command := p.command(t, contract.StepPromote)
	isOfBuild := func(arg string) bool { return arg == "--model-version-uid="+p.uid }
	command.Args = append(slices.DeleteFunc(command.Args, isOfBuild), "--model=resnet", "--digest="+digest, "--workflow-uid=wf-2")
	return command
}

// promotionFails runs the step, which must fail for this reason.
func (p *pod) promotionFails(t *testing.T, digest, reason string) {
	t.Helper()
	out, err := p.promotion(t, digest).CombinedOutput()
	require.Error(t, err, string(out))
	failure := p.report(t).Failure
	require.NotNil(t, failure, string(out))
	assert.Equal(t, [2]string{contract.StepPromote, reason}, [2]string{failure.Step, failure.Reason}, string(out))
}

// TestPromote moves a tag between two versions on every registry, and leaves one alone
// that holds something else.
func TestPromote(t *testing.T) {
	t.Parallel()
	for _, row := range slices.Concat(realRows, imitatedRows()) {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			target := row.start(t)
			first := target.newPod(t)
			first.write(t, "config.json", `{"layers": 2}`)
			left, logs := first.runAll(t)
			require.Nil(t, left.Failure, logs)
			second := target.newPod(t)
			second.tag, second.version, second.uid = "v2", "resnet-v2", "another"
			second.write(t, "config.json", `{"layers": 3}`)
			leftToo, logs := second.runAll(t)
			require.Nil(t, leftToo.Failure, logs)

			p := target.newPod(t)
			p.tag = "production"
			pulled := target.pullHost + "/" + p.repository + ":"
			if left.Image.HeldBack != "" {
				// The labels of the image cannot be read.
				p.promotionFails(t, left.Image.Digest, v1alpha1.ReasonHeldByPolicy)
				content.AssertNotTagged(t, pulled+"production")
				return
			}
			for _, digest := range []string{left.Image.Digest, leftToo.Image.Digest, leftToo.Image.Digest, left.Image.Digest} {
				out, err := p.promotion(t, digest).CombinedOutput()
				require.NoError(t, err, string(out))
				assert.Equal(t, digest, p.report(t).Image.Digest)
				assert.Equal(t, digest, content.Digest(t, pulled+"production", target.options...))
			}

			p.tag = "taken"
			pushImage(t, pulled+"taken", v1.Config{}, target.options...)
			taken := content.Digest(t, pulled+"taken", target.options...)
			p.promotionFails(t, left.Image.Digest, v1alpha1.ReasonTagTaken)
			assert.Equal(t, taken, content.Digest(t, pulled+"taken", target.options...))
		})
	}
}
