package sourcepolicy

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEFSRulesCheck(t *testing.T) {
	type attributes = map[string]string
	const all, dir, accessPoint = "fs-1", "fs-1:/models", "fs-1::fsap-2"
	tests := map[string]struct {
		allowed    []string
		extra      []string
		handle     string
		attributes attributes
		want       string // part of the error; empty: allowed
	}{
		"allowed: an allowed file system":                                     {allowed: []string{all}, handle: "fs-1"},
		"allowed: a directory of an allowed file system":                      {allowed: []string{all}, handle: "fs-1:/models/resnet"},
		"allowed: an access point of an allowed file system":                  {allowed: []string{all}, handle: "fs-1::fsap-2"},
		"allowed: a directory of such an access point":                        {allowed: []string{all}, handle: "fs-1:/models:fsap-2"},
		"allowed: empty parts":                                                {allowed: []string{all}, handle: "fs-1::"},
		"allowed: one of several entries":                                     {allowed: []string{"fs-2", all}, handle: "fs-1"},
		"allowed: an allowed directory":                                       {allowed: []string{dir}, handle: "fs-1:/models"},
		"allowed: a path inside an allowed directory":                         {allowed: []string{dir}, handle: "fs-1:/models/resnet"},
		"allowed: a directory without a leading slash":                        {allowed: []string{dir}, handle: "fs-1:models/resnet"},
		"allowed: a directory with two slashes":                               {allowed: []string{dir}, handle: "fs-1://models//resnet/"},
		"allowed: a directory in the path attribute":                          {allowed: []string{dir}, handle: "fs-1", attributes: attributes{"path": "/models/resnet"}},
		"allowed: the handle's directory has precedence over the attribute's": {allowed: []string{dir}, handle: "fs-1:/models", attributes: attributes{"path": "/private"}},
		"allowed: an allowed access point":                                    {allowed: []string{accessPoint}, handle: "fs-1::fsap-2"},
		"allowed: a directory of an allowed access point":                     {allowed: []string{accessPoint}, handle: "fs-1:/a:fsap-2"},
		"allowed: an allowed directory of an access point":                    {allowed: []string{"fs-1:/models:fsap-2"}, handle: "fs-1:/models/a:fsap-2"},
		"allowed: a harmless attribute":                                       {allowed: []string{all}, handle: "fs-1", attributes: attributes{"encryptInTransit": "true"}},
		"allowed: an attribute that the cluster allows":                       {allowed: []string{all}, extra: []string{"crossaccount"}, handle: "fs-1", attributes: attributes{"crossAccount": "true"}},
		"without encryption":                                                  {allowed: []string{all}, handle: "fs-1", attributes: attributes{"encryptInTransit": "false"}, want: `this cluster does not allow the volume attribute "encryptInTransit" with this value (allowedEFSAttributes): remove it`},
		"without encryption, in another case":                                 {allowed: []string{all}, handle: "fs-1", attributes: attributes{"EncryptInTransit": "False"}, want: "with this value"},
		"allowed: without encryption where the cluster allows it":             {allowed: []string{all}, extra: []string{"encryptInTransit"}, handle: "fs-1", attributes: attributes{"encryptInTransit": "false"}},
		"an empty allow-list":                                                 {handle: "fs-1", want: "fs-1 cannot be packaged because this cluster allows no AWS EFS volume (allowedEFS is empty)"},
		"another file system":                                                 {allowed: []string{all}, handle: "fs-2", want: "fs-2 is not an AWS EFS file system, directory or access point that this cluster allows (allowedEFS): move the model to fs-1, or ask the platform team to allow it"},
		"a file system with an allowed one as prefix":                         {allowed: []string{all}, handle: "fs-12", want: "that this cluster allows (allowedEFS)"},
		"the file system of an allowed directory":                             {allowed: []string{dir}, handle: "fs-1", want: "that this cluster allows (allowedEFS)"},
		"another directory":                                                   {allowed: []string{dir}, handle: "fs-1:/private", want: "that this cluster allows (allowedEFS)"},
		"a directory with an allowed one as prefix":                           {allowed: []string{dir}, handle: "fs-1:/models-private", want: "that this cluster allows (allowedEFS)"},
		"another directory in the path attribute":                             {allowed: []string{dir}, handle: "fs-1", attributes: attributes{"path": "/private"}, want: "that this cluster allows (allowedEFS)"},
		"another directory in a second path attribute":                        {allowed: []string{dir}, handle: "fs-1", attributes: attributes{"path": "/models", "Path": "/private"}, want: "that this cluster allows (allowedEFS)"},
		"a directory with '..'":                                               {allowed: []string{dir}, handle: "fs-1:/models/../private", want: "contains '..'"},
		"a path attribute with '..'":                                          {allowed: []string{dir}, handle: "fs-1", attributes: attributes{"PATH": "/models/../private"}, want: "contains '..'"},
		"an access point of the allowed directory":                            {allowed: []string{dir}, handle: "fs-1:/models:fsap-2", want: "that this cluster allows (allowedEFS)"},
		"another access point":                                                {allowed: []string{accessPoint}, handle: "fs-1::fsap-3", want: "that this cluster allows (allowedEFS)"},
		"no access point where one is allowed":                                {allowed: []string{accessPoint}, handle: "fs-1", want: "that this cluster allows (allowedEFS)"},
		"an attribute that names another server":                              {allowed: []string{all}, handle: "fs-1", attributes: attributes{"mountTargetIP": "10.0.0.7"}, want: `this cluster does not allow the volume attribute "mountTargetIP" with this value (allowedEFSAttributes): remove it`},
		"an attribute that holds a pod's token":                               {allowed: []string{all}, handle: "fs-1", attributes: attributes{"csi.storage.k8s.io/serviceAccount.tokens": "x"}, want: "does not allow the volume attribute"},
		"a mount option after the access point":                               {allowed: []string{all}, handle: "fs-1::fsap-2,mounttargetip=10.0.0.7", want: "is not valid: write it as fs-12345678"},
		"an empty handle":                                                     {allowed: []string{all}, handle: "", want: "is not valid: write it as fs-12345678"},
		"a handle of four parts":                                              {allowed: []string{all}, handle: "fs-1:/a:fsap-2:x", want: "is not valid: write it as fs-12345678"},
		"a handle of two lines":                                               {allowed: []string{all}, handle: "fs-1:/a\nb", want: "is not valid: write it as fs-12345678"},
		"a file system that would be a mount option":                          {allowed: []string{all}, handle: "-obind", want: "that this cluster allows (allowedEFS)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := EFSRules{Allowed: tt.allowed, Attributes: tt.extra}.Check(tt.handle, tt.attributes)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestCheckEFSEntry(t *testing.T) {
	for _, entry := range []string{"fs-1", "fs-1:/models", "fs-1::fsap-2", "fs-1:/models:fsap-2"} {
		require.NoError(t, CheckEFSEntry(entry), entry)
	}
	for _, entry := range []string{"", "fs 1", "fs-1:/a/../b", "fs-1:/a:fsap-2:x", "fs-1::fsap-2,tls", "*"} {
		require.ErrorContains(t, CheckEFSEntry(entry), "write it as fs-12345678, fs-12345678:/models or fs-12345678::fsap-12345678", entry)
	}
}
