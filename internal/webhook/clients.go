package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// Clients are the clients that may call the webhooks: API servers that present a
// certificate, which their admission configuration names.
type Clients struct {
	authorities *x509.CertPool
	name        string
}

// NewClients returns the clients whose certificates were signed by one of these
// authorities, in PEM, and have this common name or DNS name; any name if it is
// empty. It returns an error if there are no authorities.
func NewClients(authorities []byte, name string) (*Clients, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, errors.New("the file of certificate authorities for clients contains no certificate in PEM")
	}
	return &Clients{authorities: pool, name: name}, nil
}

// Require configures a server to reject the connections of all other clients.
func (c *Clients) Require(config *tls.Config) {
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = c.authorities
	config.VerifyConnection = c.verifyName
}

// verifyName is called after the certificate was verified, also for resumed
// sessions.
func (c *Clients) verifyName(state tls.ConnectionState) error {
	certificate := state.PeerCertificates[0]
	if c.name == "" || certificate.Subject.CommonName == c.name || slices.Contains(certificate.DNSNames, c.name) {
		return nil
	}
	return fmt.Errorf("the client certificate is not of %q", c.name)
}
