package efs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	type attributes = map[string]string
	const all, folder, accessPoint = "fs-1", "fs-1:/models", "fs-1::fsap-2"
	tests := map[string]struct {
		allowed    []string
		extra      []string
		handle     string
		attributes attributes
		want       string // part of the error; empty: allowed
	}{
		"an allowed file system is allowed":                      {allowed: []string{all}, handle: "fs-1"},
		"and so are its folders":                                 {allowed: []string{all}, handle: "fs-1:/models/resnet"},
		"and its access points":                                  {allowed: []string{all}, handle: "fs-1::fsap-2"},
		"and folders of those":                                   {allowed: []string{all}, handle: "fs-1:/models:fsap-2"},
		"empty parts say nothing":                                {allowed: []string{all}, handle: "fs-1::"},
		"any of several is":                                      {allowed: []string{"fs-2", all}, handle: "fs-1"},
		"an allowed folder is":                                   {allowed: []string{folder}, handle: "fs-1:/models"},
		"what lies in it is":                                     {allowed: []string{folder}, handle: "fs-1:/models/resnet"},
		"a folder without its slash is the same":                 {allowed: []string{folder}, handle: "fs-1:models/resnet"},
		"a folder with two slashes is the same":                  {allowed: []string{folder}, handle: "fs-1://models//resnet/"},
		"a folder that the attribute names is":                   {allowed: []string{folder}, handle: "fs-1", attributes: attributes{"path": "/models/resnet"}},
		"the handle's folder goes before the attribute's":        {allowed: []string{folder}, handle: "fs-1:/models", attributes: attributes{"path": "/private"}},
		"an allowed access point is":                             {allowed: []string{accessPoint}, handle: "fs-1::fsap-2"},
		"a folder of an allowed access point is":                 {allowed: []string{accessPoint}, handle: "fs-1:/a:fsap-2"},
		"an allowed folder of an access point is":                {allowed: []string{"fs-1:/models:fsap-2"}, handle: "fs-1:/models/a:fsap-2"},
		"an attribute that leads nowhere is":                     {allowed: []string{all}, handle: "fs-1", attributes: attributes{"encryptInTransit": "true"}},
		"an attribute that the cluster allows is":                {allowed: []string{all}, extra: []string{"crossaccount"}, handle: "fs-1", attributes: attributes{"crossAccount": "true"}},
		"nothing is allowed where nothing is said":               {handle: "fs-1", want: "fs-1 may not be packaged, because nothing of AWS EFS is allowed on this cluster (allowedEFS is empty)"},
		"another file system is refused":                         {allowed: []string{all}, handle: "fs-2", want: "fs-2 is not among the file systems, folders and access points of AWS EFS that may be packaged on this cluster (allowedEFS): put the model into fs-1, or have the platform team allow it"},
		"one whose name begins like an allowed one is refused":   {allowed: []string{all}, handle: "fs-12", want: "is not among"},
		"the whole of which a folder is allowed is refused":      {allowed: []string{folder}, handle: "fs-1", want: "is not among"},
		"another folder is refused":                              {allowed: []string{folder}, handle: "fs-1:/private", want: "is not among"},
		"a folder that only begins like it is refused":           {allowed: []string{folder}, handle: "fs-1:/models-private", want: "is not among"},
		"another folder by the attribute is refused":             {allowed: []string{folder}, handle: "fs-1", attributes: attributes{"path": "/private"}, want: "is not among"},
		"another folder by a second attribute is refused":        {allowed: []string{folder}, handle: "fs-1", attributes: attributes{"path": "/models", "Path": "/private"}, want: "is not among"},
		"a folder that goes up is refused":                       {allowed: []string{folder}, handle: "fs-1:/models/../private", want: "goes up with '..'"},
		"an attribute that goes up is refused":                   {allowed: []string{folder}, handle: "fs-1", attributes: attributes{"PATH": "/models/../private"}, want: "goes up with '..'"},
		"an access point's root is not the allowed folder":       {allowed: []string{folder}, handle: "fs-1:/models:fsap-2", want: "is not among"},
		"another access point is refused":                        {allowed: []string{accessPoint}, handle: "fs-1::fsap-3", want: "is not among"},
		"no access point where one is allowed is refused":        {allowed: []string{accessPoint}, handle: "fs-1", want: "is not among"},
		"another server by an attribute is refused":              {allowed: []string{all}, handle: "fs-1", attributes: attributes{"mountTargetIP": "10.0.0.7"}, want: `the volume attribute "mountTargetIP" is not among those that versions may set on this cluster (allowedEFSAttributes): leave it out`},
		"a pod's token by an attribute is refused":               {allowed: []string{all}, handle: "fs-1", attributes: attributes{"csi.storage.k8s.io/serviceAccount.tokens": "x"}, want: "is not among those that versions may set"},
		"a mount option behind the access point is refused":      {allowed: []string{all}, handle: "fs-1::fsap-2,mounttargetip=10.0.0.7", want: "is not written as fs-12345678"},
		"what is no handle is refused":                           {allowed: []string{all}, handle: "", want: "is not written as fs-12345678"},
		"a handle of four parts is refused":                      {allowed: []string{all}, handle: "fs-1:/a:fsap-2:x", want: "is not written as fs-12345678"},
		"a handle of two lines is refused":                       {allowed: []string{all}, handle: "fs-1:/a\nb", want: "is not written as fs-12345678"},
		"a file system that is an option to mount is not listed": {allowed: []string{all}, handle: "-obind", want: "is not among"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := Rules{Allowed: tt.allowed, Attributes: tt.extra}.Check(tt.handle, tt.attributes)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestCheckEntry(t *testing.T) {
	for _, entry := range []string{"fs-1", "fs-1:/models", "fs-1::fsap-2", "fs-1:/models:fsap-2"} {
		require.NoError(t, CheckEntry(entry), entry)
	}
	for _, entry := range []string{"", "fs 1", "fs-1:/a/../b", "fs-1:/a:fsap-2:x", "fs-1::fsap-2,tls", "*"} {
		require.ErrorContains(t, CheckEntry(entry), "write it as fs-12345678, fs-12345678:/models or fs-12345678::fsap-12345678", entry)
	}
}
