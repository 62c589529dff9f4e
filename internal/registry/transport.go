package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// errPlainHTTP says that a request was about to be sent without encryption to
// a host for which that is not allowed.
var errPlainHTTP = errors.New("plain HTTP is not allowed")

// encrypted is a transport that sends nothing in plain HTTP. The library that
// it is for would do so by itself for addresses that look like a private
// network, and when a registry says so.
type encrypted struct{ inner http.RoundTripper }

func (t encrypted) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" {
		return nil, fmt.Errorf("%w for %s", errPlainHTTP, req.URL.Host)
	}
	return t.inner.RoundTrip(req)
}

// newTransport returns a transport that trusts the system's certificate
// authorities and those in caFile, a PEM bundle that need not exist.
func newTransport(caFile string) (*http.Transport, error) {
	library, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("the registry library's transport is a %T", remote.DefaultTransport)
	}
	transport := library.Clone()
	if caFile == "" {
		return transport, nil
	}
	bundle, err := os.ReadFile(caFile)
	if errors.Is(err, fs.ErrNotExist) {
		return transport, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		// A container without any authorities of its own still has the bundle.
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(bundle) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", caFile)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return transport, nil
}
