package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/modelkiln/modelkiln/internal/registry/identity"
	"github.com/modelkiln/modelkiln/internal/text"
)

// Kind classifies errors of registries.
type Kind int

// Kinds of errors.
const (
	// Unreachable means that there was no usable response.
	Unreachable Kind = iota
	// Unauthorized means that the registry rejected the credentials or requires
	// some.
	Unauthorized
	// NotFound means that the registry does not have the requested content.
	NotFound
	// RepositoryMissing means that the registry does not have the repository, and
	// does not create it for a push.
	RepositoryMissing
	// Untrusted means that the registry's certificate cannot be verified.
	Untrusted
	// QuotaExceeded means that the registry accepts no more content, or none of that
	// size.
	QuotaExceeded
	// TagImmutable means that the registry does not let a tag refer to another image.
	TagImmutable
	// PolicyDenied means that a policy of the registry, such as one that requires a
	// signature or a scan, denies the request.
	PolicyDenied
	// Unsupported means that the registry does not accept a media type.
	Unsupported
	// RateLimited means that the registry accepts no more requests for a while.
	RateLimited
)

// Error is an error of a registry.
type Error struct {
	Kind Kind
	// Message is for users and names the registry.
	Message string
	// Transient reports whether the same request may succeed a little later.
	Transient bool
	// Cause is the library's error.
	Cause error
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Cause }

// IsNotFound reports whether the registry does not have the requested content, or not
// even the repository.
func IsNotFound(err error) bool {
	return hasKind(err, NotFound) || hasKind(err, RepositoryMissing)
}

// IsUnauthorized reports whether the registry rejected the credentials, or requires
// some. Some registries respond so to a request for what does not exist.
func IsUnauthorized(err error) bool { return hasKind(err, Unauthorized) }

// IsPolicyDenied reports whether a policy of the registry denied the request.
func IsPolicyDenied(err error) bool { return hasKind(err, PolicyDenied) }

func hasKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

// explain returns an error of the library as one that users understand.
func (r *Repository) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	err = redactedError{error: err, redact: r.redact}
	var noIdentity *identity.Error
	if errors.As(err, &noIdentity) {
		return explainIdentity(r.name, noIdentity)
	}
	var resp *transport.Error
	if errors.As(err, &resp) {
		return r.explainStatus(resp, err)
	}
	if problem := certificateProblem(err); problem != "" {
		return &Error{Kind: Untrusted, Message: r.failedPeer(err) + " " + problem, Cause: err}
	}
	problem, transient := r.connectionProblem(err)
	return &Error{Kind: Unreachable, Message: r.failedPeer(err) + " " + problem, Transient: transient, Cause: err}
}

// query matches the query of a URL, which need not be absolute or valid, also if the
// URL is quoted.
var query = regexp.MustCompile(`\?(\\.|[^\s"\\])+`)

// userInfo matches a user and a password in a URL.
var userInfo = regexp.MustCompile(`://[^/@\s]+@`)

// RedactQueries removes the queries from the URLs in a text, and with them users and
// passwords: a registry may redirect to a storage that accepts a signature in the query
// as a credential.
func RedactQueries(message string) string {
	return query.ReplaceAllString(userInfo.ReplaceAllString(message, "://***@"), "?***")
}

// redactedError is an error whose text contains no credentials and no URL queries: a
// server can repeat what was sent to it, for example in place of a status line.
type redactedError struct {
	error
	redact func(string) string
}

func (e redactedError) Error() string { return e.redact(e.error.Error()) }

func (e redactedError) Unwrap() error { return e.error }

// explainLogin is explain for an error of the first request. A server that does
// not know the base URL of the registry API is not a registry.
func (r *Repository) explainLogin(err error) error {
	err = r.explain(err)
	if !IsNotFound(err) {
		return err
	}
	if host := failedHost(err); host != "" && host != r.name.RegistryStr() {
		return &Error{Kind: Unreachable, Message: r.failedPeer(err) + " responded with 404 Not Found: check the registry's token service", Cause: err}
	}
	return r.notARegistry(err)
}

// notARegistry returns the error for a server that is not a registry.
func (r *Repository) notARegistry(cause error) *Error {
	return &Error{Kind: Unreachable, Message: fmt.Sprintf("%s responded, but is not an image registry: correct the host in the image reference", r.name.RegistryStr()), Cause: cause}
}

// failedPeer returns the host that a request failed at, as the subject of a
// sentence. It may be another host than the registry's: that of its token service
// or of its storage.
func (r *Repository) failedPeer(err error) string {
	host := r.name.RegistryStr()
	if failed := failedHost(err); failed != "" && failed != host {
		return fmt.Sprintf("the host %s, to which the registry %s redirects the build,", failed, host)
	}
	return "the registry " + host
}

// failedHost returns the host of the request that failed, or "".
func failedHost(err error) string {
	var resp *transport.Error
	if errors.As(err, &resp) && resp.Request != nil {
		return text.OneLine(resp.Request.URL.Host, maxText)
	}
	var request *url.Error
	if errors.As(err, &request) {
		if parsed, err := url.Parse(request.URL); err == nil {
			return text.OneLine(parsed.Host, maxText)
		}
	}
	return ""
}

// maxText is the number of characters that a message repeats of what a registry sent.
const maxText = 300

// cause returns the text of an error, in which a registry's answer can be quoted.
func cause(err error) string { return text.OneLine(err.Error(), maxText) }

// statusFormats are the messages about status codes: of the peer, the repository, the
// code with its text, and the account.
var statusFormats = map[Kind]string{
	Unauthorized:      "%[1]s denied the permissions that the build needs in %[2]s (%[3]s); credentials: %[4]s",
	NotFound:          "%[1]s does not have the requested content in %[2]s (%[3]s)",
	RepositoryMissing: "%[1]s has no repository %[2]s, or the build may not push to it (%[3]s): create the repository, or correct imageRepo",
	RateLimited:       "%[1]s is rate limiting requests (%[3]s): wait, or use an account with a higher limit",
	QuotaExceeded:     "%[1]s rejected the upload to %[2]s (%[3]s): raise the registry's request size limit or storage quota",
	TagImmutable:      "%[1]s does not let a tag of %[2]s refer to another image (%[3]s): choose another imageTag",
	PolicyDenied:      "a policy of %[1]s denies access to the image in %[2]s (%[3]s): sign or scan the image as the policy requires, or have the policy changed",
	Unsupported:       "%[1]s does not accept an image of this form in %[2]s (%[3]s): choose another spec.build.compression, or update the registry",
	Unreachable:       "%[1]s responded with the error %[3]s",
}

// explainStatus returns the error for a status code, with the registry's own message.
func (r *Repository) explainStatus(resp *transport.Error, err error) error {
	code := resp.StatusCode
	e := &Error{Kind: kindOf(code, textOf(resp)), Cause: err}
	format := statusFormats[e.Kind]
	if code == http.StatusUnauthorized && e.Kind == Unauthorized {
		format = "%[1]s denied access to %[2]s (%[3]s); credentials: %[4]s"
	}
	e.Message = fmt.Sprintf(format, r.failedPeer(err), r.name.RepositoryStr(), fmt.Sprintf("%d %s", code, http.StatusText(code)), r.account)
	e.Transient = e.Kind == RateLimited || e.Kind == Unreachable && (slices.Contains(retryStatusCodes, code) || code == statusOriginTimeout)
	if words := r.wordsOf(resp); words != "" {
		e.Message += fmt.Sprintf(". The registry reports: %s", words)
	}
	if e.Kind == Unauthorized && r.credentials.lacksTransiently(r.name) {
		e.Kind, e.Transient = Unreachable, true
	}
	return e
}

// invalidRealm is the start of the library's error for a token service at a
// private address, to which a compromised registry could have the credentials
// sent.
const invalidRealm = "invalid realm in www-authenticate"

// connectionProblems are why there was no usable response, as the predicate of a
// sentence, and whether there may be one a little later, by the cause.
var connectionProblems = []struct {
	cause     error
	problem   string
	transient bool
}{
	{syscall.ECONNREFUSED, "refused the connection: correct the host and port, or start the registry", true},
	{errRedirectLoop, "redirects in a loop: correct the host in the image reference, or fix the registry", false},
	{http.ErrNoLocation, "responded to an upload without saying where to send it (the header Location): check that no proxy removes the header", true},
	{errManifestTooLarge, fmt.Sprintf("sent a manifest of more than %d MiB, which is no image's: correct the image reference", MaxDocument>>20), false},
	{errPlainHTTP, "cannot be reached over HTTPS, and plain HTTP is used only for hosts that the operator's configuration lists", false},
}

// connectionProblem returns why there was no usable response, as the predicate of a
// sentence, and whether there may be one a little later.
func (r *Repository) connectionProblem(err error) (problem string, transient bool) {
	var dns *net.DNSError
	switch {
	case !r.insecure && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "uses plain HTTP instead of HTTPS: if this is intended, add the host to the plain-HTTP registries in the operator's configuration", false
	case errors.As(err, &dns):
		return "cannot be resolved in the cluster's DNS: correct the host in the image reference, or add the name to the DNS", dns.IsTemporary || dns.IsTimeout
	}
	for _, known := range connectionProblems {
		if errors.Is(err, known.cause) {
			return known.problem, known.transient
		}
	}
	var network net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout():
		return "did not respond in time: check that it is running and that no firewall blocks it", true
	case strings.Contains(err.Error(), invalidRealm):
		return fmt.Sprintf("directs the build to a token service at an unsafe address: give the token service a host name and, unless the registry itself is accessed over plain HTTP, HTTPS (%s)", cause(err)), false
	default:
		return "cannot be used, connection failed: " + cause(err), true
	}
}

// certificateProblem returns what is wrong with a certificate, as the predicate of a
// sentence, or "".
func certificateProblem(err error) string {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &authority):
		return "presented a certificate from an unknown authority: add the authority's certificate to the operator's configuration"
	case errors.As(err, &hostname) || errors.As(err, &certificate):
		return "presented a certificate that is not valid for it: " + cause(err)
	default:
		return ""
	}
}
