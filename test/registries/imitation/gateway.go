package imitation

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

// Gateways are proxies, load balancers and storage before or behind registries.
var Gateways = []Imitation{
	{
		Name:   "nginx with a limit",
		Habits: []Habit{{"A request of more than 4 MiB is answered with 413 and nginx's page.", "https://nginx.org/en/docs/http/ngx_http_core_module.html#client_max_body_size"}},
		Behave: always(func() proxy.Behavior { return limit("nginx/1.27.3", nginxPage) }),
	},
	{
		Name:   "Cloudflare with its limit",
		Habits: []Habit{{"A request of more than 100 MB (here 4 MiB) is answered with 413 and Cloudflare's page.", "https://developers.cloudflare.com/support/troubleshooting/http-status-codes/4xx-client-error/error-413/"}},
		Behave: always(func() proxy.Behavior { return limit("cloudflare", cloudflarePage) }),
	},
	{
		Name:   "proxy that cuts connections",
		Habits: []Habit{{"Every request is cut after 4 MiB of its body.", "https://github.com/goharbor/harbor/issues/9394"}},
		Behave: always(func() proxy.Behavior {
			return proxy.Cut(4<<20, func(r *http.Request) bool { return r.Method == http.MethodPatch })
		}),
	},
	{
		Name:   "proxy that delays",
		Habits: []Habit{{"Every request takes a tenth of a second more.", "https://github.com/moby/moby/issues/13454"}},
		Behave: always(func() proxy.Behavior { return proxy.Delay(100 * time.Millisecond) }),
	},
	{
		Name:   "load balancer with a short timeout",
		Habits: []Habit{{"The last request of an upload is answered with 504 while the registry still works on it.", "https://github.com/goharbor/harbor/issues/9394"}},
		Behave: always(shortTimeout),
	},
	{
		Name:   "S3 behind the registry",
		Habits: []Habit{{"A blob is answered with 307 to another host, whose signature is for `GET`: `HEAD` is answered with 403.", "https://github.com/containerd/stargz-snapshotter/pull/167"}},
		Behave: s3,
	},
	{
		Name:   "relative Location",
		Habits: []Habit{{"`Location` has a path and a query, but no host.", "https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks"}},
		Behave: always(func() proxy.Behavior {
			return location(func(*http.Request) string { return "" })
		}),
	},
	{
		Name:   "Location on another host",
		Habits: []Habit{{"An upload continues at another host.", "https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks"}},
		Behave: otherHost,
	},
	{
		Name:   "tokens that live for two seconds",
		Habits: []Habit{{"A token ends during an upload, which takes longer.", "https://github.com/google/go-containerregistry/issues/1004"}},
		Behave: always(shortTokens),
	},
}

const (
	nginxPage      = "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx/1.27.3</center>\r\n</body>\r\n</html>\r\n"
	cloudflarePage = "<html>\r\n<head><title>413 Payload Too Large</title></head>\r\n<body>\r\n<center><h1>413 Payload Too Large</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)

// limit rejects bodies of more than 4 MiB. Of a body whose length is not known, it
// reads so much before that.
func limit(server, page string) proxy.Behavior {
	const size = 4 << 20
	return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		begin, err := []byte(nil), error(nil)
		if r.ContentLength < 0 {
			begin, err = io.ReadAll(io.LimitReader(r.Body, size+1))
			r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(begin), r.Body))
		}
		if err != nil || max(r.ContentLength, int64(len(begin))) <= size {
			return false
		}
		w.Header().Set("Server", server)
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, page)
		return true
	})
}

// shortTimeout answers the end of an upload before the registry does, which
// finishes it.
func shortTimeout() proxy.Behavior {
	return func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPut || !proxy.IsUpload(r) {
				registry.ServeHTTP(w, r)
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			later := r.Clone(context.WithoutCancel(r.Context()))
			later.Body = io.NopCloser(bytes.NewReader(body))
			time.AfterFunc(300*time.Millisecond, func() { registry.ServeHTTP(httptest.NewRecorder(), later) })
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusGatewayTimeout)
			_, _ = io.WriteString(w, "<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n</html>\r\n")
		})
	}
}

// s3 redirects blobs to a storage.
func s3(t *testing.T, registry string, _ proxy.Behavior) proxy.Behavior {
	t.Helper()
	const signature = "X-Amz-Signature"
	forward := proxy.Forward(registry)
	storage := proxy.Serve(t, "127.0.0.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			http.Error(w, "<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>", http.StatusBadRequest)
			return
		}
		if r.URL.Query().Get(signature) != r.Method {
			http.Error(w, "<Error><Code>SignatureDoesNotMatch</Code></Error>", http.StatusForbidden)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		if !proxy.IsRead(r) || !proxy.IsBlob(r) {
			return false
		}
		if !exists(forward, r, r.URL.Path) {
			return false
		}
		w.Header().Set("Location", fmt.Sprintf("http://%s%s?%s=%s", storage, r.URL.Path, signature, http.MethodGet))
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	})
}

// location changes the host of upload locations, which is empty for a relative one.
func location(base func(r *http.Request) string) proxy.Behavior {
	return proxy.Edit(func(r *http.Request, code int, header http.Header) int {
		if at := header.Get("Location"); at != "" && proxy.IsUpload(r) && code == http.StatusAccepted {
			path := at
			if _, rest, absolute := strings.Cut(at, "://"); absolute {
				_, path, _ = strings.Cut(rest, "/")
				path = "/" + path
			}
			header.Set("Location", base(r)+path)
		}
		return code
	})
}

// otherHost has uploads continue at another host in front of the same registry.
func otherHost(t *testing.T, registry string, uploads proxy.Behavior) proxy.Behavior {
	t.Helper()
	var other string
	behavior := location(func(*http.Request) string { return "http://" + other })
	other = proxy.Serve(t, "127.0.0.1", proxy.All(uploads, behavior)(proxy.Forward(registry)))
	return behavior
}

// shortTokens gives tokens without a password, and lets uploads take four seconds.
func shortTokens() proxy.Behavior {
	const life = 2 * time.Second
	return proxy.All(Tokens(life, nil), proxy.Slow(2<<20))
}
