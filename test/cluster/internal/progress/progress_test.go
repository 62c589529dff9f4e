package progress

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReporterLogf(t *testing.T) {
	var out strings.Builder
	New(&out).Logf("loading %d images", 3)
	assert.Equal(t, "[   0s] loading 3 images\n", out.String())
}

func TestReporterDuringReturnsTheError(t *testing.T) {
	var out strings.Builder
	want := errors.New("broken")
	got := New(&out).During("compiling", func() error { return want })
	require.ErrorIs(t, got, want)
	assert.Empty(t, out.String(), "short work prints nothing")
}
