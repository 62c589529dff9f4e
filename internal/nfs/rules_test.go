package nfs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		allowed        []string
		server, folder string
		want           string // part of the error; empty: allowed
	}{
		"every server is allowed where nothing is said":      {server: "nas.example.com", folder: "/exports/resnet"},
		"the root of a server is":                            {server: "10.0.0.7", folder: "/"},
		"an address of version 6 is":                         {server: "fd00::7", folder: "/exports"},
		"one that begins with colons is":                     {server: "::1", folder: "/exports"},
		"a folder with spaces, quotes and braces is":         {server: "nas", folder: `/my "models"/{a}/$(b)`},
		"a slash at the end makes no difference":             {allowed: []string{"nas:/models"}, server: "nas", folder: "/models/"},
		"all folders of an allowed server are":               {allowed: []string{"nas.example.com"}, server: "nas.example.com", folder: "/exports/resnet"},
		"a server's case makes no difference":                {allowed: []string{"NAS.example.com"}, server: "nas.Example.com", folder: "/"},
		"an allowed folder is":                               {allowed: []string{"nas:/models"}, server: "nas", folder: "/models"},
		"what lies in an allowed folder is":                  {allowed: []string{"nas:/models"}, server: "nas", folder: "/models/resnet/1"},
		"any of several is":                                  {allowed: []string{"other", "nas:/models"}, server: "nas", folder: "/models"},
		"an allowed address of version 6 is":                 {allowed: []string{"fd00::7:/models"}, server: "fd00::7", folder: "/models/a"},
		"all folders of an allowed root are":                 {allowed: []string{"nas:/"}, server: "nas", folder: "/models"},
		"another server is refused":                          {allowed: []string{"nas:/models"}, server: "elsewhere", folder: "/models", want: "elsewhere:/models is not among the NFS servers and folders that may be packaged on this cluster (allowedNFS): put the model into nas:/models, or have the platform team allow it"},
		"a server whose name goes on is refused":             {allowed: []string{"nas"}, server: "nas.example.com", folder: "/", want: "is not among"},
		"another folder is refused":                          {allowed: []string{"nas:/models"}, server: "nas", folder: "/private", want: "is not among"},
		"a folder whose name begins like an allowed one is":  {allowed: []string{"nas:/models"}, server: "nas", folder: "/models-private", want: "is not among"},
		"what is above an allowed folder is refused":         {allowed: []string{"nas:/models/a"}, server: "nas", folder: "/models", want: "is not among"},
		"two slashes lead nowhere else":                      {allowed: []string{"nas:/models"}, server: "nas", folder: "//private", want: "is not among"},
		"a folder that goes up is refused":                   {server: "nas", folder: "/models/../private", want: "is not an absolute path without '..'"},
		"a relative folder is refused":                       {server: "nas", folder: "models", want: "is not an absolute path"},
		"no folder is refused":                               {server: "nas", folder: "", want: "is not an absolute path"},
		"no server is refused":                               {server: "", folder: "/models", want: "is not a host name or an address"},
		"a server that would be an option is refused":        {server: "-obind", folder: "/models", want: "is not a host name"},
		"a server with a folder in it is refused":            {allowed: []string{"nas"}, server: "nas:/private", folder: "/models", want: "is not a host name"},
		"a server that Argo would expand is refused":         {server: "{{workflow.uid}}", folder: "/models", want: "is not a host name"},
		"a server with a shell's words is refused":           {server: "$(id)", folder: "/models", want: "is not a host name"},
		"a server with another line is refused":              {server: "nas\nother", folder: "/models", want: "is not a host name"},
		"a server that only looks like two lines is refused": {server: "nas\n", folder: "/models", want: "is not a host name"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := Rules{Allowed: tt.allowed}.Check(tt.server, tt.folder)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestCheckEntry(t *testing.T) {
	for _, entry := range []string{"nas", "nas.example.com", "10.0.0.7", "fd00::7", "nas:/", "nas:/models", "fd00::7:/models/a b"} {
		require.NoError(t, CheckEntry(entry), entry)
	}
	for _, entry := range []string{"", "/models", "nas/models", "nas:models:", "nas:/models/", "nas:/models/../private", "nas://models", "nas:/a,b", "na s", "-nas", "nas,other"} {
		require.ErrorContains(t, CheckEntry(entry), "write it as nas.example.com or nas.example.com:/exports/models", entry)
	}
}
