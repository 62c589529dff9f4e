package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/text"
)

// server explains the errors of a store.
type server struct {
	// name is the subject of a sentence, such as "the hub huggingface.co".
	name string
	// host is its host and port; empty if it has several and does not redirect.
	host string
	// hint is what to do about a host that rules do not allow.
	hint string
	// secrets returns what must not appear in messages or in a log.
	secrets func() []string
}

// maxWords is how many characters a message repeats of what a server answered.
const maxWords = 160

// quote returns what a server answered for messages: in one line, without secrets and
// without the queries of URLs, which may be signatures.
func (s *server) quote(words string) string {
	for _, secret := range s.secrets() {
		if secret != "" {
			words = strings.ReplaceAll(words, secret, "***")
		}
	}
	return text.Sentence(registry.RedactQueries(words), maxWords)
}

// cause returns an error for the log.
func (s *server) cause(err error) error { return errors.New(s.words(err)) }

// words returns what an error says, without the address of the request: it may be one of
// a redirect, whose path can be signed as well as its query.
func (s *server) words(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	return s.quote(err.Error())
}

// fail returns a failure of the server, with the cause.
func (s *server) fail(reason string, err error, format string, args ...any) *failure.Error {
	return failure.New(reason, format, args...).WithCause(s.cause(err))
}

// unreachable returns the failure of a request without a usable response, or the error
// of the context if that has ended.
func (s *server) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var notAllowed forbiddenHost
	if errors.As(err, &notAllowed) {
		return s.fail(v1alpha1.ReasonSourceForbidden, err, "%s redirects the build to %s, which this cluster does not allow: %s", s.name, notAllowed.host, s.hint)
	}
	if errors.Is(err, errMetadata) {
		return s.fail(v1alpha1.ReasonSourceForbidden, err, "%s has the address of a metadata service of the cloud, at which nodes get credentials: correct the DNS", s.peer(err))
	}
	problem, transient := s.problem(err)
	f := s.fail(v1alpha1.ReasonSourceUnavailable, err, "%s %s", s.peer(err), problem)
	f.Transient = transient
	return f
}

// peer returns the host that a request failed at, as the subject of a sentence.
func (s *server) peer(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		if parsed, err := url.Parse(request.URL); err == nil && s.host != "" && parsed.Host != s.host {
			return fmt.Sprintf("the host %s, to which %s redirects the build,", shown(parsed.Host), s.name)
		}
	}
	return s.name
}

// problem returns why there was no usable response, as the predicate of a sentence, and
// whether there may be one a little later.
func (s *server) problem(err error) (problem string, transient bool) {
	var authority x509.UnknownAuthorityError
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &authority):
		return "presented a certificate from an unknown authority: add the authority's certificate to the operator's configuration", false
	case errors.As(err, &certificate):
		return fmt.Sprintf("presented a certificate that is not valid for it: %s", s.words(err)), false
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "uses plain HTTP instead of HTTPS: if this is intended, write the endpoint with http://, and have the platform team allow that", false
	case errors.Is(err, errTooLong):
		return "sent an answer that is too long: check that the endpoint is the address of such a server", false
	case errors.As(err, &dns):
		return "cannot be resolved in the cluster's DNS: correct the endpoint, or add the name to the DNS", dns.IsTemporary || dns.IsTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused the connection: correct the host and port of the endpoint, or start the server", true
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout():
		return "did not respond in time: check that it is running and that no firewall or NetworkPolicy blocks it", true
	default:
		return fmt.Sprintf("cannot be used, connection failed: %s", s.words(err)), true
	}
}

// refused returns the failure of a response with an error that has no other meaning.
// words are those of the server.
func (s *server) refused(code int, words string) error {
	status := strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
	if words = s.quote(words); words != "" {
		status += ": " + words
	}
	if code == http.StatusTooManyRequests {
		return s.limited(status)
	}
	f := failure.New(v1alpha1.ReasonSourceUnavailable, "%s responded with the error %s", s.name, status)
	f.Transient = code >= http.StatusInternalServerError || code == http.StatusRequestTimeout
	return f
}

// limited returns the failure of a request that exceeds a limit of the server.
func (s *server) limited(said string) error {
	f := failure.New(v1alpha1.ReasonRateLimited, "%s is rate limiting requests (%s): wait, or use an account with a higher limit", s.name, said)
	f.Transient = true
	return f
}

// checkPart checks that the header of a response announces what was requested: a part
// that begins at the offset, of a file of the planned size.
func (s *server) checkPart(header http.Header, planned layer.Entry, offset int64) error {
	announced := header.Get("Content-Range")
	if announced == "" {
		return s.checkWhole(header, planned, offset)
	}
	var first, last int64
	var size string
	if _, err := fmt.Sscanf(announced, "bytes %d-%d/%s", &first, &last, &size); err != nil || first != offset {
		return failure.New(v1alpha1.ReasonSourceUnavailable, "%s sent another part of %q than was requested (%s): check that proxies in front of it support ranges", s.name, shown(planned.Path), s.quote(announced))
	}
	if size != "*" && size != strconv.FormatInt(planned.Size, 10) {
		return source.Changing(planned.Path)
	}
	return nil
}

// checkWhole is checkPart for a response with the whole file.
func (s *server) checkWhole(header http.Header, planned layer.Entry, offset int64) error {
	if length := header.Get("Content-Length"); length != "" && length != strconv.FormatInt(planned.Size, 10) {
		return source.Changing(planned.Path)
	}
	if offset > 0 {
		return failure.New(v1alpha1.ReasonSourceUnavailable, "%s sends files only as a whole, and builds request parts of them: use a server, or a proxy in front of it, that supports ranges", s.name)
	}
	return nil
}

// rangeOf returns the header Range for a part of a file.
func rangeOf(offset, length int64) string { return fmt.Sprintf("bytes=%d-%d", offset, offset+length-1) }

// newTransport returns a transport that trusts the authorities in a file, that connects
// to no metadata service, and that opens one connection for each request at a time: a
// network has more throughput for several.
func newTransport(caFile string) (*http.Transport, error) {
	transport, err := registry.NewTransport(caFile)
	if err != nil {
		return nil, err
	}
	transport.DialContext = newDialer().DialContext
	transport.ForceAttemptHTTP2 = false
	transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	transport.MaxIdleConnsPerHost = parallel * 4
	return transport, nil
}

// idleTimeout is how long a server may stay silent.
const idleTimeout = time.Minute

// guard is a transport that sends requests only to addresses that are allowed, and
// limits the responses.
type guard struct {
	inner     http.RoundTripper
	allows    func(*url.URL) bool
	userAgent string
}

// newGuard returns a guard for a transport.
func newGuard(ctx context.Context, transport *http.Transport, access Access, allows func(*url.URL) bool) guard {
	idle := cmp.Or(access.idle, idleTimeout)
	return guard{inner: registry.NewTimeoutTransport(ctx, transport, idle), allows: allows, userAgent: access.UserAgent}
}

// forbiddenHost is the error for an address that is not allowed.
type forbiddenHost struct{ host string }

func (f forbiddenHost) Error() string { return fmt.Sprintf("the host %s is not allowed", f.host) }

func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if !g.allows(req.URL) {
		return nil, forbiddenHost{req.URL.Scheme + "://" + shown(req.URL.Host)}
	}
	if g.userAgent != "" {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", g.userAgent)
	}
	resp, err := g.inner.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &limitedBody{ReadCloser: resp.Body, left: maxResponse}
	return resp, nil
}

// maxResponse is how many bytes of a response are read. The longest are lists of 1,000
// files, whose names have up to 1,024 bytes, and parts of files.
const maxResponse = 4 << 20

var errTooLong = errors.New("the response is too long")

type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 && len(p) > 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
