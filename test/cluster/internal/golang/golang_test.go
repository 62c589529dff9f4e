package golang

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckVersion(t *testing.T) {
	tests := map[string]struct {
		version string
		want    string // part of the error; empty if the version is accepted
	}{
		"the oldest supported release":      {version: "go1.26"},
		"a patch release":                   {version: "go1.26.8"},
		"a newer release":                   {version: "go1.30.1"},
		"a release candidate":               {version: "go1.26rc2"},
		"a release with experiments":        {version: "go1.26.1 X:nocoverageredesign"},
		"a development version is accepted": {version: "devel go1.27-abcdef"},
		"an older release is rejected":      {version: "go1.25.4", want: "is go1.25.4, but Modelkiln requires Go 1.26 or newer"},
		"the Go of Debian 12 is rejected":   {version: "go1.19.8", want: "https://go.dev/dl"},
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

func TestCheckVersionOfThisGo(t *testing.T) {
	require.NoError(t, CheckVersion(t.Context(), "."))
}

func TestCheckVersionWithoutGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	require.ErrorContains(t, CheckVersion(t.Context(), "."), "the go command was not found; install Go 1.26 or newer")
}

func TestBuildArgs(t *testing.T) {
	build := Build{Packages: []string{"./cmd/a", "./cmd/b"}, Output: "/out", Variables: []string{"x.version=v1"}}
	want := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X x.version=v1", "-o", "/out/", "./cmd/a", "./cmd/b"}
	assert.Equal(t, want, build.args())
}
