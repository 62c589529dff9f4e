package registry

import (
	"errors"
	"io"
	"net/http"
	"strings"
)

// MaxDocument is the largest number of bytes that are read of a manifest or an index.
// podman and other clients read as many (internal/iolimits in
// github.com/containers/image), and the specification asks registries for no more.
const MaxDocument = 4 << 20

// errManifestTooLarge is returned for a manifest of more than MaxDocument bytes.
var errManifestTooLarge = errors.New("the manifest is too large")

// manifestLimit is a transport that limits manifests. go-containerregistry reads 100 MiB
// into memory, to which a few compressed kilobytes can expand.
type manifestLimit struct{ inner http.RoundTripper }

func (t manifestLimit) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.inner.RoundTrip(req)
	if err == nil && asksForManifest(req) {
		resp.Body = &limitedBody{ReadCloser: resp.Body, left: MaxDocument}
	}
	return resp, err
}

// asksForManifest reports whether a request is for a manifest, or was redirected from one.
func asksForManifest(req *http.Request) bool {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return strings.Contains(req.URL.Path, "/manifests/")
}

// limitedBody is a response body that has an error in place of a byte too many.
type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		b.left = -1
		return 0, errManifestTooLarge
	}
	return n, err
}
