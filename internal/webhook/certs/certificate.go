package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
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

// certificate is the serving certificate of the webhook.
type certificate struct {
	// pair is the certificate, followed by its CA's, and its key.
	pair tls.Certificate
	// ca is the certificate of the CA that signed it, in PEM.
	ca []byte
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
	return &certificate{
		pair:    pair,
		ca:      pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: ca.Raw}),
		renewal: renewal,
	}, nil
}
