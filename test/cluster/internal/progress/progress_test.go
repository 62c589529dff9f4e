package progress

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestALineTellsTheSecondsSinceTheBeginning(t *testing.T) {
	var out strings.Builder
	New(&out).Say("loading %d images", 3)
	assert.Equal(t, "[   0s] loading 3 images\n", out.String())
}

func TestWhatIsDoneInBetweenMayFail(t *testing.T) {
	var out strings.Builder
	want := errors.New("broken")
	got := New(&out).During("compiling", func() error { return want })
	require.ErrorIs(t, got, want)
	assert.Empty(t, out.String(), "what is quick is not worth a line")
}
