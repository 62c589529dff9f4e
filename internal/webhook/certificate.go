package webhook

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
	// validity is how long a certificate is good for.
	validity = 365 * 24 * time.Hour
	// margin is how long before its end a certificate is replaced.
	margin = 90 * 24 * time.Hour
)

// certificate is what the webhook is served with.
type certificate struct {
	// pair is the certificate, with its authority's behind it, and its key.
	pair tls.Certificate
	// authority is the certificate of the authority that has signed it, PEM.
	authority []byte
	// renewal is when it has to be replaced.
	renewal time.Time
}

// newCertificate is the content of a Secret with a certificate for this host
// name or address. Its authority has signed nothing else and never will: the
// authority's key is thrown away.
func newCertificate(host string) (map[string][]byte, error) {
	chain, key, err := certutil.GenerateSelfSignedCertKeyWithOptions(certutil.SelfSignedCertKeyOptions{Host: host, MaxAge: validity})
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", host, err)
	}
	return map[string][]byte{corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key}, nil
}

// readCertificate is the certificate in the content of a Secret, which has to be
// good for this host now, and not near its end. The error says why it is not.
func readCertificate(data map[string][]byte, host string, now time.Time) (*certificate, error) {
	if len(data[corev1.TLSCertKey]) == 0 {
		return nil, errors.New("there is none yet")
	}
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, err
	}
	if len(pair.Certificate) != 2 {
		return nil, fmt.Errorf("%d certificates instead of one and its authority's", len(pair.Certificate))
	}
	authority, err := x509.ParseCertificate(pair.Certificate[1])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, CurrentTime: now}); err != nil {
		return nil, err
	}
	renewal := pair.Leaf.NotAfter.Add(-margin)
	if !now.Before(renewal) {
		return nil, fmt.Errorf("it ends at %s", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return &certificate{
		pair:      pair,
		authority: pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: authority.Raw}),
		renewal:   renewal,
	}, nil
}
