package sourcepolicy

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The parser is a library's. What matters here is that CheckMounted sees the
// right root, mount point, device and type in every line that a kernel writes,
// and refuses a line that it cannot read.
func TestHostPathRulesCheckMountedReadsLines(t *testing.T) {
	overlay := `641 640 0:46 / /other rw - overlay overlay rw,lowerdir=` + strings.Repeat("/var/lib/containerd/snapshots/1/fs:", 1500) + `/x`
	tests := map[string]struct {
		line, requested string
		want            string // part of the error; empty: allowed
	}{
		"optional fields":             {line: `640 612 0:45 /a /source ro master:12 shared:7 propagate_from:2 - overlay overlay rw`, requested: "/a"},
		"an empty source":             {line: `640 612 0:45 /a /source ro - fuse  rw`, requested: "/a"},
		"a source that is a dash":     {line: `640 612 0:45 /a /source ro - tmpfs - rw`, requested: "/a", want: "type tmpfs"},
		"a type behind two dashes":    {line: `640 612 0:45 /a /source ro - - - - tmpfs x rw`, requested: "/a", want: "type tmpfs"},
		"escapes":                     {line: `640 612 0:45 /a\040b\134040\043 /source ro - nfs4 srv:/a\040b rw`, requested: `/a b\040#`},
		"an escaped mount point":      {line: `640 612 0:45 /a /source\012x ro - nfs4 srv:/a rw`, requested: "/a", want: "nothing is mounted at /source"},
		"a long overlay line":         {line: overlay + "\n" + `640 612 0:45 /a /source ro - ext4 /dev/x rw`, requested: "/a"},
		"a namespace as root":         {line: `640 612 0:4 net:[4026532281] /source rw - ext4 x rw`, requested: "/a", want: "no longer a directory"},
		"a line without a separator":  {line: `640 612 0:45 /a /source ro ext4 /dev/x rw rw rw`, requested: "/a", want: "mount table cannot be read"},
		"a line that is cut short":    {line: `640 612 0:45 /a /source ro - ext4`, requested: "/a", want: "mount table cannot be read"},
		"a backslash without a code":  {line: `640 612 0:45 /a\9 /source ro - ext4 /dev/x rw`, requested: `/a\9`},
		"a code of two digits":        {line: `640 612 0:45 /a\04 /source ro - ext4 /dev/x rw`, requested: `/a\04`},
		"a code larger than one byte": {line: `640 612 0:45 /a\777 /source ro - ext4 /dev/x rw`, requested: `/a\777`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := HostPathRules{}.CheckMounted(tt.line+"\n", "/source", tt.requested)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// escape writes a path as the kernel does.
func escape(s string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "#", `\043`).Replace(s)
}

func FuzzHostPathRulesCheckMounted(f *testing.F) {
	f.Add("/foo", "/foo")
	f.Add("/etc", "/foo/etc")
	f.Add("/a b\\c#d\te\nf", "/a b\\c#d\te\nf")
	f.Add("/ - proc", "/x / / - tmpfs")
	f.Add("", "/foo")
	f.Fuzz(func(t *testing.T, root, requested string) {
		mounts := ordinary(`640 612 259:1 ` + escape(root) + ` /source ro - ext4 /dev/root rw`)
		if (HostPathRules{}).CheckMounted(mounts, "/source", requested) != nil {
			return
		}
		// On a node with one disk, only the path itself may be mounted.
		assert.Equal(t, requested, root)
		assert.NoError(t, HostPathRules{}.Check(requested))
	})
}
