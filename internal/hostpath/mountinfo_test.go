package hostpath

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseMount(t *testing.T) {
	tests := map[string]struct {
		line string
		want mount
	}{
		"without optional fields": {
			line: `640 612 259:1 /foo /source ro,relatime - ext4 /dev/root rw,discard`,
			want: mount{device: "259:1", root: "/foo", point: "/source", fsType: "ext4"},
		},
		"with optional fields": {
			line: `640 612 0:45 / /source ro master:12 shared:7 propagate_from:2 - overlay overlay rw`,
			want: mount{device: "0:45", root: "/", point: "/source", fsType: "overlay"},
		},
		"with an empty source": {
			line: `640 612 0:45 /a /source ro - fuse  rw`,
			want: mount{device: "0:45", root: "/a", point: "/source", fsType: "fuse"},
		},
		"with escapes": {
			line: `640 612 0:45 /a\040b\134040 /source\012x ro - nfs4 srv:/a\040b rw`,
			want: mount{device: "0:45", root: `/a b\040`, point: "/source\nx", fsType: "nfs4"},
		},
		"with a namespace as root": {
			line: `640 612 0:4 net:[4026532281] /run/netns/a rw - nsfs nsfs rw`,
			want: mount{device: "0:4", root: "net:[4026532281]", point: "/run/netns/a", fsType: "nsfs"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseMount(tt.line)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestUnescape(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"nothing to do":                    {in: "/foo", want: "/foo"},
		"a space":                          {in: `a\040b`, want: "a b"},
		"a backslash before digits":        {in: `a\134040b`, want: `a\040b`},
		"a code at the end":                {in: `a\011`, want: "a\t"},
		"a backslash that begins no code":  {in: `a\9xyz`, want: `a\9xyz`},
		"a code that is cut off":           {in: `a\04`, want: `a\04`},
		"a code that is larger than bytes": {in: `a\777`, want: `a\777`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, unescape(tt.in)) })
	}
}

// escape writes a path as the kernel does.
func escape(s string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "#", `\043`).Replace(s)
}

func FuzzCheckMounted(f *testing.F) {
	f.Add("/foo", "/foo")
	f.Add("/etc", "/foo/etc")
	f.Add("/a b\\c#d\te\nf", "/a b\\c#d\te\nf")
	f.Add("/ - proc", "/x / / - tmpfs")
	f.Add("", "/foo")
	f.Fuzz(func(t *testing.T, root, asked string) {
		mountinfo := ordinary(`640 612 259:1 ` + escape(root) + ` /source ro - ext4 /dev/root rw`)
		mounts, err := parseMounts(mountinfo)
		require.NoError(t, err)
		assert.Equal(t, root, mounts[len(mounts)-1].root)

		if (Rules{}).CheckMounted(mountinfo, "/source", asked) != nil {
			return
		}
		// On a node with one disk, only the path itself may be mounted.
		assert.Equal(t, asked, root)
		assert.NoError(t, Rules{}.Check(asked))
	})
}
