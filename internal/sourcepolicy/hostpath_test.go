package sourcepolicy

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHostPathRulesCheck(t *testing.T) {
	tests := map[string]struct {
		rules HostPathRules
		path  string
		want  string // part of the error; empty: allowed
	}{
		"allowed: a top-level directory":                {path: "/foo"},
		"allowed: a directory below /var/lib":           {path: "/var/lib/models"},
		"allowed: a home directory":                     {path: "/home/ann/models"},
		"allowed: a name with a denied one as prefix":   {path: "/etcetera"},
		"allowed: a sibling of the kubelet's directory": {path: "/var/lib/kubelet-models"},
		"allowed: a path with spaces and quotes":        {path: `/mnt/my "models"/a b`},
		"the root":                                      {path: "/", want: "contains /bin"},
		"a system directory":                            {path: "/etc", want: "is a system directory of the node"},
		"what is inside a system directory":             {path: "/etc/kubernetes/pki", want: "is inside /etc"},
		"a parent of a denied directory":                {path: "/var", want: "contains /var/"},
		"/var/lib":                                      {path: "/var/lib", want: "contains /var/lib/"},
		"a pod's volumes":                               {path: "/var/lib/kubelet/pods/1/volumes", want: "is inside /var/lib/kubelet"},
		"a volume of another workload":                  {path: "/opt/local-path-provisioner/pvc-1_team-a_data", want: "is inside /opt/local-path-provisioner"},
		"allowed: a directory beside volumes":           {path: "/opt/models"},
		"a container runtime's directory":               {path: "/run/containerd", want: "is inside /run"},
		"a relative path":                               {path: "models", want: "not an absolute path"},
		"an empty path":                                 {path: "", want: "not an absolute path"},
		"a path with dots":                              {path: "/foo/../etc", want: "not an absolute path"},
		"a path with two slashes":                       {path: "//etc", want: "not an absolute path"},
		"a path with a trailing slash":                  {path: "/foo/", want: "not an absolute path"},
		"a path inside a directory that the cluster denies": {
			rules: HostPathRules{Denied: []string{"/mnt/secret"}}, path: "/mnt/secret/a", want: "is inside /mnt/secret",
		},
		"what is above a path inside a directory that the cluster denies": {
			rules: HostPathRules{Denied: []string{"/mnt/secret"}}, path: "/mnt", want: "contains /mnt/secret",
		},
		"allowed: a path inside an allowed directory": {
			rules: HostPathRules{Allowed: []string{"/mnt/models"}}, path: "/mnt/models/resnet",
		},
		"allowed: an allowed directory itself": {
			rules: HostPathRules{Allowed: []string{"/mnt/models"}}, path: "/mnt/models",
		},
		"a path in no allowed directory": {
			rules: HostPathRules{Allowed: []string{"/mnt/models", "/data"}}, path: "/foo", want: "move the model below /mnt/models or /data",
		},
		"a system directory in Allowed is still denied": {
			rules: HostPathRules{Allowed: []string{"/etc"}}, path: "/etc/ssl", want: "is inside /etc",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.rules.Check(tt.path)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestSystemDirsAreAbsoluteCleanPaths(t *testing.T) {
	for _, dir := range systemDirs {
		assert.ErrorContains(t, HostPathRules{}.Check(dir), "is a system directory of the node", dir)
	}
}
