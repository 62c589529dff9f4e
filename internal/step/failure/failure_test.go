package failure

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestASentenceIsOneShortLineWithoutAFullStop(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"as it is":           {in: "the path /foo does not exist", want: "the path /foo does not exist"},
		"a full stop":        {in: "It failed. Again..", want: "It failed. Again"},
		"several lines":      {in: "a\n\tb\r\nc  d", want: "a b c d"},
		"control characters": {in: "a\x1b[31mb\x00c", want: "a [31mb c"},
		"bytes of no text":   {in: "a\xffb", want: "a b"},
		"too long":           {in: strings.Repeat("é", 600), want: strings.Repeat("é", 499) + "…"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, New("Reason", "%s", tt.in).Sentence) })
	}
}

func TestOfFindsTheFailureWithinAnError(t *testing.T) {
	cause := errors.New("permission denied")
	want := New(v1alpha1.ReasonSourceUnreadable, "cannot read %s", "a").Because(cause)

	got := Of(fmt.Errorf("list: %w", want))

	assert.Same(t, want, got)
	assert.Equal(t, "cannot read a (permission denied)", got.Error())
	assert.ErrorIs(t, got, cause)
}

func TestAnyOtherErrorIsAFailedBuild(t *testing.T) {
	got := Of(errors.New("write /kiln/plan.json: no space left on device"))
	require.NotNil(t, got)
	assert.Equal(t, v1alpha1.ReasonBuildFailed, got.Reason)
	assert.Equal(t, "write /kiln/plan.json: no space left on device", got.Sentence)
}
