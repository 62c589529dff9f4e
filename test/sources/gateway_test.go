//go:build slow

package sources

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/step/remote"
)

const (
	accessKey = "AKIAMODELKILN"
	secretKey = "s3cr3t-of-the-gateway"
	bucket    = "models"
	prefix    = "team-a/llama"
)

// gateway is a process of the Versity Gateway.
type gateway struct {
	// endpoint is its URL.
	endpoint string
	// dir is the directory of the bucket.
	dir string
	// client writes objects.
	client *minio.Client
}

// startGateway starts a gateway with a bucket that ends with the test. Further arguments
// of its command posix may be given.
func startGateway(t *testing.T, arguments ...string) *gateway {
	t.Helper()
	root := t.TempDir()
	g := &gateway{dir: filepath.Join(root, bucket)}
	require.NoError(t, os.Mkdir(g.dir, 0o755))
	host := freeAddress(t)
	g.endpoint = "http://" + host
	command := append([]string{"--port", host, "--region", "us-east-1", "--quiet", "posix"}, arguments...)
	process := exec.Command(os.Getenv(gatewayVariable), append(command, root)...)
	process.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+accessKey, "ROOT_SECRET_ACCESS_KEY="+secretKey)
	var printed bytes.Buffer
	process.Stdout, process.Stderr = &printed, &printed
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		require.NoError(t, process.Process.Kill())
		_ = process.Wait() // It was killed.
		if t.Failed() {
			t.Log(printed.String())
		}
	})
	var err error
	g.client, err = minio.New(host, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: "us-east-1"})
	require.NoError(t, err)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		exists, err := g.client.BucketExists(t.Context(), bucket)
		require.NoError(collect, err)
		require.True(collect, exists)
	}, time.Minute, 20*time.Millisecond)
	return g
}

// startWithETags starts a gateway that stores the ETags of objects. Not every file system
// has attributes for them.
func startWithETags(t *testing.T) *gateway {
	t.Helper()
	return startGateway(t, "--sidecar", t.TempDir())
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// put writes an object below the prefix.
func (g *gateway) put(t *testing.T, name string, content []byte) {
	t.Helper()
	_, err := g.client.PutObject(t.Context(), bucket, prefix+"/"+name, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{PartSize: 5 << 20})
	require.NoError(t, err)
}

// write writes a file below the prefix without the gateway.
func (g *gateway) write(t *testing.T, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(g.dir, prefix, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, content, 0o644))
	return file
}

// location is where the model is, at an endpoint.
func location(endpoint string) *remote.Location {
	return &remote.Location{S3: &remote.S3{Endpoint: endpoint, Bucket: bucket, Prefix: prefix}}
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

func startCutter(t *testing.T, g *gateway) *cutter {
	t.Helper()
	target, err := url.Parse(g.endpoint)
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
