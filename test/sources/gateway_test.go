package sources

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/step/remote"
	"github.com/modelkiln/modelkiln/test/sources/gateway"
)

const prefix = "team-a/llama"

// bucket is the bucket of a gateway.
type bucket struct{ *gateway.Gateway }

// start starts a gateway that stores the ETags of objects.
func start(t *testing.T) bucket {
	t.Helper()
	return startWith(t, t.TempDir())
}

// startWithoutETags starts a gateway in front of a directory of files.
func startWithoutETags(t *testing.T) bucket {
	t.Helper()
	return startWith(t, "")
}

func startWith(t *testing.T, attributes string) bucket {
	t.Helper()
	g, err := gateway.Start(t.Context(), versitygw, "127.0.0.1:0", t.TempDir(), attributes)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Stop()) })
	return bucket{g}
}

// put writes an object below the prefix.
func (b bucket) put(t *testing.T, name string, content []byte) {
	t.Helper()
	require.NoError(t, b.Put(t.Context(), prefix+"/"+name, bytes.NewReader(content), int64(len(content))))
}

// write writes a file below the prefix without the gateway.
func (b bucket) write(t *testing.T, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(b.Dir, prefix, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, content, 0o644))
	return file
}

// location is where the model is, at an endpoint.
func location(endpoint string) *remote.Location {
	return &remote.Location{S3: &remote.S3{Endpoint: endpoint, Bucket: gateway.Bucket, Prefix: prefix}}
}

// access is access to an endpoint with credentials.
func access(t *testing.T, endpoint, key, secret string) remote.Access {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "AWS_ACCESS_KEY_ID"), []byte(key), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "AWS_SECRET_ACCESS_KEY"), []byte(secret), 0o600))
	return remote.Access{S3Rules: sourcepolicy.S3Rules{Allowed: []string{endpoint}}, SecretDir: dir}
}

// cutter is a proxy in front of a gateway that cuts the connections of some responses
// with objects.
type cutter struct {
	url string

	mu sync.Mutex
	// cuts is how many responses are cut, each after so many bytes.
	cuts, after int
	// sent is how many bytes of objects were sent, and ranges are what was requested.
	sent   int
	ranges []string
}

func startCutter(t *testing.T, b bucket) *cutter {
	t.Helper()
	target, err := url.Parse(b.Endpoint)
	require.NoError(t, err)
	c := &cutter{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		// The signature is for this host.
		r.Out.Host = r.In.Host
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if part := r.Header.Get("Range"); part != "" {
			w = c.meter(w, strings.TrimPrefix(part, "bytes="))
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// meter counts what is written to a response.
func (c *cutter) meter(w http.ResponseWriter, part string) http.ResponseWriter {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ranges = append(c.ranges, part)
	m := &meter{ResponseWriter: w, cutter: c, left: -1}
	if c.cuts > 0 {
		c.cuts--
		m.left = c.after
	}
	return m
}

// meter is a response. It is cut when nothing of left is left.
type meter struct {
	http.ResponseWriter
	cutter *cutter
	left   int
}

func (m *meter) Write(p []byte) (int, error) {
	if m.left >= 0 {
		p = p[:min(len(p), m.left)]
	}
	n, err := m.ResponseWriter.Write(p)
	m.cutter.mu.Lock()
	m.cutter.sent += n
	m.cutter.mu.Unlock()
	if m.left >= 0 {
		if m.left -= n; m.left == 0 {
			_ = http.NewResponseController(m.ResponseWriter).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	return n, err
}
