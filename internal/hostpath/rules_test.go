package hostpath

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckByText(t *testing.T) {
	tests := map[string]struct {
		rules Rules
		path  string
		want  string // part of the error; empty: allowed
	}{
		"a folder at the top is allowed":            {path: "/foo"},
		"a folder below /var/lib is allowed":        {path: "/var/lib/models"},
		"a home folder is allowed":                  {path: "/home/ann/models"},
		"a name that begins like a denied one is":   {path: "/etcetera"},
		"a sibling of the kubelet's folder is":      {path: "/var/lib/kubelet-models"},
		"a path with spaces and quotes is":          {path: `/mnt/my "models"/a b`},
		"the root is refused":                       {path: "/", want: "holds /bin"},
		"a system folder is refused":                {path: "/etc", want: "belongs to the node's system"},
		"what is inside a system folder is refused": {path: "/etc/kubernetes/pki", want: "is inside /etc"},
		"what is above a denied folder is refused":  {path: "/var", want: "holds /var/"},
		"/var/lib is above denied folders":          {path: "/var/lib", want: "holds /var/lib/"},
		"a pod's volumes are refused":               {path: "/var/lib/kubelet/pods/1/volumes", want: "is inside /var/lib/kubelet"},
		"a runtime's folder is refused":             {path: "/run/containerd", want: "is inside /run"},
		"a relative path is refused":                {path: "models", want: "not an absolute path"},
		"an empty path is refused":                  {path: "", want: "not an absolute path"},
		"a path with dots is refused":               {path: "/foo/../etc", want: "not an absolute path"},
		"a path with two slashes is refused":        {path: "//etc", want: "not an absolute path"},
		"a path with a slash at its end is refused": {path: "/foo/", want: "not an absolute path"},
		"a folder that the cluster denies is refused": {
			rules: Rules{Denied: []string{"/mnt/secret"}}, path: "/mnt/secret/a", want: "is inside /mnt/secret",
		},
		"what is above a folder that the cluster denies is refused": {
			rules: Rules{Denied: []string{"/mnt/secret"}}, path: "/mnt", want: "holds /mnt/secret",
		},
		"what is inside an allowed folder is allowed": {
			rules: Rules{Allowed: []string{"/mnt/models"}}, path: "/mnt/models/resnet",
		},
		"an allowed folder itself is allowed": {
			rules: Rules{Allowed: []string{"/mnt/models"}}, path: "/mnt/models",
		},
		"what no allowed folder holds is refused": {
			rules: Rules{Allowed: []string{"/mnt/models", "/data"}}, path: "/foo", want: "put the model below /mnt/models or /data",
		},
		"allowing a system folder does not help": {
			rules: Rules{Allowed: []string{"/etc"}}, path: "/etc/ssl", want: "is inside /etc",
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

func TestEveryDeniedFolderIsAnAbsoluteCleanPath(t *testing.T) {
	for _, folder := range system {
		assert.ErrorContains(t, Rules{}.Check(folder), "belongs to the node's system", folder)
	}
}
