package golang

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckVersion(t *testing.T) {
	tests := map[string]struct {
		version string
		want    string // part of the error; empty: good enough
	}{
		"the oldest that compiles is good enough":      {version: "go1.26"},
		"a patch release of it is":                     {version: "go1.26.8"},
		"a newer one is":                               {version: "go1.30.1"},
		"a release candidate counts as its release":    {version: "go1.26rc2"},
		"a build of somebody's own counts as its base": {version: "go1.26.1 X:nocoverageredesign"},
		"a development version is taken for a new one": {version: "devel go1.27-abcdef"},
		"an older one is refused":                      {version: "go1.25.4", want: "is go1.25.4, and Modelkiln needs Go 1.26 or newer"},
		"Debian 12's is refused":                       {version: "go1.19.8", want: "https://go.dev/dl"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := checkVersion(tt.version)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestTheGoThatRunsTheTestsIsGoodEnough(t *testing.T) {
	require.NoError(t, CheckVersion(t.Context(), "."))
}

func TestAMissingGoIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	require.ErrorContains(t, CheckVersion(t.Context(), "."), "the go command is missing; install Go 1.26 or newer")
}

func TestBuildArguments(t *testing.T) {
	build := Build{Packages: []string{"./cmd/a", "./cmd/b"}, Output: "/out", Variables: []string{"x.version=v1"}}
	want := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X x.version=v1", "-o", "/out/", "./cmd/a", "./cmd/b"}
	assert.Equal(t, want, build.args())
}
