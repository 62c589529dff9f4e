package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	certutil "k8s.io/client-go/util/cert"
)

const (
	// validity is how long a new certificate is valid.
	validity = 365 * 24 * time.Hour
	// renewBefore is how long before its expiry a certificate is replaced.
	renewBefore = 90 * 24 * time.Hour
)

// previousCAKey is the key in the Secret of the CA that signed the certificate before
// the current one, in PEM.
const previousCAKey = "previous-ca.crt"

// certificate is the serving certificate of the webhook.
type certificate struct {
	// pair is the certificate, followed by its CA's, and its key.
	pair tls.Certificate
	// ca is the certificate of the CA that signed it, in PEM.
	ca []byte
	// previousCA is the certificate of the CA that signed the certificate before this
	// one, in PEM; empty if there was none. Replicas that still serve that one are
	// trusted.
	previousCA []byte
	// renewal is when it has to be replaced.
	renewal time.Time
}

// newCertificate returns the data of a Secret with a new certificate for a host
// name or address. The certificate's CA has signed nothing else and never will:
// the key of the CA is discarded.
func newCertificate(host string) (map[string][]byte, error) {
	chain, key, err := certutil.GenerateSelfSignedCertKeyWithOptions(certutil.SelfSignedCertKeyOptions{Host: host, MaxAge: validity})
	if err != nil {
		return nil, fmt.Errorf("create a certificate for %s: %w", host, err)
	}
	return map[string][]byte{corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key}, nil
}

// readCertificate returns the certificate in the data of a Secret. The error describes
// why it has to be replaced: it is missing, is not valid for the host now, or is
// about to expire.
func readCertificate(data map[string][]byte, host string, now time.Time) (*certificate, error) {
	if len(data[corev1.TLSCertKey]) == 0 {
		return nil, errors.New("the Secret has no certificate")
	}
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, err
	}
	if len(pair.Certificate) != 2 {
		return nil, fmt.Errorf("expected 2 certificates, the server's and its CA's, found %d", len(pair.Certificate))
	}
	ca, err := x509.ParseCertificate(pair.Certificate[1])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, CurrentTime: now}); err != nil {
		return nil, err
	}
	renewal := pair.Leaf.NotAfter.Add(-renewBefore)
	if !now.Before(renewal) {
		return nil, fmt.Errorf("expires at %s", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return &certificate{pair: pair, ca: encodeCA(ca.Raw), previousCA: readCA(data[previousCAKey]), renewal: renewal}, nil
}

func encodeCA(raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: raw})
}

// readCA returns the last certificate in PEM data, which is the CA's, or nothing. The
// API server rejects a bundle that is not valid.
func readCA(data []byte) []byte {
	chain, err := certutil.ParseCertsPEM(data)
	if err != nil {
		return nil
	}
	return encodeCA(chain[len(chain)-1].Raw)
}

// bundle returns the CAs that the API server has to trust, in PEM.
func (c *certificate) bundle() []byte { return slices.Concat(c.ca, c.previousCA) }

// canPrecede reports whether the certificate can be served until the API server trusts
// the next one: it is the one before that, and has not expired.
func (c *certificate) canPrecede(next *certificate, now time.Time) bool {
	return bytes.Equal(c.ca, next.previousCA) && now.Before(c.pair.Leaf.NotAfter)
}
