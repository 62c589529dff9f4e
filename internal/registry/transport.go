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

// errPlainHTTP is returned for a request over plain HTTP to a host for which that
// is not configured.
var errPlainHTTP = errors.New("plain HTTP is not allowed")

// httpsOnly is a transport that sends nothing over plain HTTP. go-containerregistry
// would do so for addresses that look like a private network, and when a registry
// redirects there.
type httpsOnly struct{ inner http.RoundTripper }

func (t httpsOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" {
		closeBody(req)
		return nil, fmt.Errorf("%w for %s", errPlainHTTP, req.URL.Host)
	}
	return t.inner.RoundTrip(req)
}

// closeBody closes the body of a request that is not sent, as http.RoundTripper
// requires: an upload waits for it.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// NewTransport returns a transport that trusts the system's certificate
// authorities and those in caFile, a PEM bundle that need not exist.
func NewTransport(caFile string) (*http.Transport, error) {
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
		// A container without system authorities still has the bundle.
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(bundle) {
		return nil, fmt.Errorf("%s contains no certificate in PEM form", caFile)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return transport, nil
}
