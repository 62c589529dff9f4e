package step

import (
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
