package node

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCgroupMountPoints(t *testing.T) {
	const mounts = `proc /proc proc rw 0 0
tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0
cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
`
	assert.Equal(t, []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"}, cgroupMountPoints(mounts))
}

func TestTrackingHierarchy(t *testing.T) {
	tests := map[string]struct {
		mounts []string
		want   string
	}{
		"the unified hierarchy":               {mounts: []string{"/sys/fs/cgroup"}, want: "/sys/fs/cgroup"},
		"pids is preferred":                   {mounts: []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/pids"}, want: "/sys/fs/cgroup/pids"},
		"without pids, any other hierarchy":   {mounts: []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd"}, want: "/sys/fs/cgroup/memory"},
		"cpuset is not used":                  {mounts: []string{"/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/memory"}, want: "/sys/fs/cgroup/memory"},
		"a hierarchy with cpuset is not used": {mounts: []string{"/sys/fs/cgroup/cpu,cpuset", "/sys/fs/cgroup/freezer"}, want: "/sys/fs/cgroup/freezer"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := trackingHierarchy(tt.mounts)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestTrackingHierarchyWithCPUSetOnly(t *testing.T) {
	_, err := trackingHierarchy([]string{"/sys/fs/cgroup/cpuset"})
	require.ErrorContains(t, err, "only [/sys/fs/cgroup/cpuset] is mounted; mount the pids hierarchy")
}

func TestJoinCgroupOutsideOfACgroup(t *testing.T) {
	dir := t.TempDir()
	require.ErrorIs(t, joinCgroup(dir), fs.ErrNotExist)
	assert.NoFileExists(t, dir+"/cgroup.procs")
}
