package version

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestInfo(t *testing.T) {
	t.Parallel()
	recorded := func(version, modified string) *debug.BuildInfo {
		return &debug.BuildInfo{
			GoVersion: "go1.26.8",
			Main:      debug.Module{Version: version},
			Settings:  []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abcd"}, {Key: "vcs.modified", Value: modified}},
		}
	}
	tests := map[string]struct {
		version, revision string
		build             *debug.BuildInfo
		want              Info
		text              string
	}{
		"set by the linker": {
			"v0.2.0", "89abcdef", recorded("v0.1.0", "true"),
			Info{"v0.2.0", "89abcdef", "go1.26.8"}, "v0.2.0 (revision 89abcdef, go1.26.8)",
		},
		"recorded by the Go command": {
			"", "", recorded("v0.1.0", "false"),
			Info{"v0.1.0", "0123abcd", "go1.26.8"}, "v0.1.0 (revision 0123abcd, go1.26.8)",
		},
		"a checkout with changes": {
			"", "", recorded("(devel)", "true"),
			Info{"(devel)", "0123abcd-dirty", "go1.26.8"}, "(devel) (revision 0123abcd-dirty, go1.26.8)",
		},
		"no revision": {
			"", "", &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "(devel)"}},
			Info{"(devel)", "", "go1.26.8"}, "(devel) (go1.26.8)",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := info(tt.version, tt.revision, tt.build)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.text, got.String())
		})
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	assert.Equal(t, runtime.Version(), Get().GoVersion)
}
