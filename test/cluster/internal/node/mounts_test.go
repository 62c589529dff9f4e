package node

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMountsUnder(t *testing.T) {
	const mountinfo = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 22 0:30 / /var/lib/modelkiln-cluster-other rw - tmpfs tmpfs rw
32 22 0:31 / /var/lib/modelkiln-cluster/registry rw - tmpfs tmpfs rw
33 32 0:32 / /var/lib/modelkiln-cluster/registry/my\040models rw - tmpfs tmpfs rw
34 22 0:33 / /var/lib rw - tmpfs tmpfs rw
`
	tests := map[string]struct {
		dir  string
		want []string
	}{
		"mounts below the directory, deepest first": {
			dir:  "/var/lib/modelkiln-cluster",
			want: []string{"/var/lib/modelkiln-cluster/registry/my models", "/var/lib/modelkiln-cluster/registry"},
		},
		"the directory itself":                   {dir: "/var/lib/modelkiln-cluster-other", want: []string{"/var/lib/modelkiln-cluster-other"}},
		"a path with the same prefix is ignored": {dir: "/var/lib/modelkiln", want: nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, mountsUnder(mountinfo, tt.dir))
		})
	}
}

func TestUnmountCommand(t *testing.T) {
	assert.Equal(t, "umount '/srv/my models' /srv/registry", unmountCommand([]string{"/srv/my models", "/srv/registry"}))
}
