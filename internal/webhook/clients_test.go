package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	certutil "k8s.io/client-go/util/cert"
)

func TestClientsRequire(t *testing.T) {
	authority, _, err := certutil.GenerateSelfSignedCertKey("kube-apiserver", nil, nil)
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		certificate x509.Certificate
		name        string
		want        string
	}{
		"any name":         {x509.Certificate{Subject: pkix.Name{CommonName: "a"}}, "", ""},
		"the common name":  {x509.Certificate{Subject: pkix.Name{CommonName: "kube-apiserver"}}, "kube-apiserver", ""},
		"a DNS name":       {x509.Certificate{DNSNames: []string{"a", "kube-apiserver"}}, "kube-apiserver", ""},
		"another name":     {x509.Certificate{Subject: pkix.Name{CommonName: "a"}}, "kube-apiserver", `the client certificate is not of "kube-apiserver"`},
		"an organization":  {x509.Certificate{Subject: pkix.Name{Organization: []string{"kube-apiserver"}}}, "kube-apiserver", "is not of"},
		"part of the name": {x509.Certificate{DNSNames: []string{"kube-apiserver.example.com"}}, "kube-apiserver", "is not of"},
	} {
		t.Run(name, func(t *testing.T) {
			clients, err := NewClients(authority, tt.name)
			require.NoError(t, err)
			config := &tls.Config{}
			clients.Require(config)
			assert.Equal(t, tls.RequireAndVerifyClientCert, config.ClientAuth)
			assert.NotNil(t, config.ClientCAs)
			err = config.VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{&tt.certificate}})
			if tt.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tt.want)
			}
		})
	}
}
