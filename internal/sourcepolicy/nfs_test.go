package sourcepolicy

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNFSRulesCheck(t *testing.T) {
	tests := map[string]struct {
		allowed     []string
		server, dir string
		want        string // part of the error; empty: allowed
	}{
		"allowed: any server without an allow-list":           {server: "nas.example.com", dir: "/exports/resnet"},
		"allowed: the root of a server":                       {server: "10.0.0.7", dir: "/"},
		"allowed: an IPv6 address":                            {server: "fd00::7", dir: "/exports"},
		"allowed: an IPv6 address with leading colons":        {server: "::1", dir: "/exports"},
		"allowed: a directory with spaces, quotes and braces": {server: "nas", dir: `/my "models"/{a}/$(b)`},
		"allowed: a trailing slash":                           {allowed: []string{"nas:/models"}, server: "nas", dir: "/models/"},
		"allowed: any directory of an allowed server":         {allowed: []string{"nas.example.com"}, server: "nas.example.com", dir: "/exports/resnet"},
		"allowed: a server in another case":                   {allowed: []string{"NAS.example.com"}, server: "nas.Example.com", dir: "/"},
		"allowed: an allowed directory":                       {allowed: []string{"nas:/models"}, server: "nas", dir: "/models"},
		"allowed: a path inside an allowed directory":         {allowed: []string{"nas:/models"}, server: "nas", dir: "/models/resnet/1"},
		"allowed: one of several entries":                     {allowed: []string{"other", "nas:/models"}, server: "nas", dir: "/models"},
		"allowed: an allowed IPv6 address":                    {allowed: []string{"fd00::7:/models"}, server: "fd00::7", dir: "/models/a"},
		"allowed: any directory of an allowed root":           {allowed: []string{"nas:/"}, server: "nas", dir: "/models"},
		"another server":                                      {allowed: []string{"nas:/models"}, server: "elsewhere", dir: "/models", want: "elsewhere:/models is not an NFS server or directory that this cluster allows (allowedNFS): move the model to nas:/models, or ask the platform team to allow it"},
		"a server with an allowed name as prefix":             {allowed: []string{"nas"}, server: "nas.example.com", dir: "/", want: "that this cluster allows (allowedNFS)"},
		"another directory":                                   {allowed: []string{"nas:/models"}, server: "nas", dir: "/private", want: "that this cluster allows (allowedNFS)"},
		"a directory with an allowed one as prefix":           {allowed: []string{"nas:/models"}, server: "nas", dir: "/models-private", want: "that this cluster allows (allowedNFS)"},
		"a parent of an allowed directory":                    {allowed: []string{"nas:/models/a"}, server: "nas", dir: "/models", want: "that this cluster allows (allowedNFS)"},
		"two slashes":                                         {allowed: []string{"nas:/models"}, server: "nas", dir: "//private", want: "that this cluster allows (allowedNFS)"},
		"a directory with '..'":                               {server: "nas", dir: "/models/../private", want: "is not an absolute path without '..'"},
		"a relative directory":                                {server: "nas", dir: "models", want: "is not an absolute path"},
		"no directory":                                        {server: "nas", dir: "", want: "is not an absolute path"},
		"no server":                                           {server: "", dir: "/models", want: "is not a host name or an address"},
		"a server that would be a mount option":               {server: "-obind", dir: "/models", want: "is not a host name"},
		"a server with a directory in it":                     {allowed: []string{"nas"}, server: "nas:/private", dir: "/models", want: "is not a host name"},
		"a server with a template expression":                 {server: "{{workflow.uid}}", dir: "/models", want: "is not a host name"},
		"a server with a shell expression":                    {server: "$(id)", dir: "/models", want: "is not a host name"},
		"a server of two lines":                               {server: "nas\nother", dir: "/models", want: "is not a host name"},
		"a server with a trailing newline":                    {server: "nas\n", dir: "/models", want: "is not a host name"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := NFSRules{Allowed: tt.allowed}.Check(tt.server, tt.dir)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestCheckNFSEntry(t *testing.T) {
	for _, entry := range []string{"nas", "nas.example.com", "10.0.0.7", "fd00::7", "nas:/", "nas:/models", "fd00::7:/models/a b"} {
		require.NoError(t, CheckNFSEntry(entry), entry)
	}
	for _, entry := range []string{"", "/models", "nas/models", "nas:models:", "nas:/models/", "nas:/models/../private", "nas://models", "nas:/a,b", "na s", "-nas", "nas,other"} {
		require.ErrorContains(t, CheckNFSEntry(entry), "write it as nas.example.com or nas.example.com:/exports/models", entry)
	}
}
