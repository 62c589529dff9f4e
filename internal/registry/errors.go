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
)

// Kind is what is wrong between us and a registry.
type Kind int

// Kinds of errors.
const (
	// Unreachable: no usable answer came.
	Unreachable Kind = iota
	// Unauthorized: the registry refuses the credentials, or wants some.
	Unauthorized
	// NotFound: the registry does not have what was asked for.
	NotFound
	// Untrusted: the registry's certificate is not one to trust.
	Untrusted
	// Full: the registry takes no more, or nothing of that size.
	Full
)

// Error is an error of a registry.
type Error struct {
	Kind Kind
	// Sentence is for people and names the registry.
	Sentence string
	// Transient says that the registry may answer a little later.
	Transient bool
	// Cause is what the library said.
	Cause error
}

func (e *Error) Error() string { return e.Sentence }

func (e *Error) Unwrap() error { return e.Cause }

// IsNotFound says whether the registry does not have what was asked for.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == NotFound
}

// explain turns an error of the library into one that a person understands.
func (r *Repository) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	err = unsigned{err}
	var answer *transport.Error
	if errors.As(err, &answer) {
		return r.explainAnswer(answer, err)
	}
	if words := badCertificate(err); words != "" {
		return &Error{Kind: Untrusted, Sentence: r.whoFailed(err) + " " + words, Cause: err}
	}
	words, transient := r.silence(err)
	return &Error{Kind: Unreachable, Sentence: r.whoFailed(err) + " " + words, Transient: transient, Cause: err}
}

// query matches what comes after an address.
var query = regexp.MustCompile(`(://[^\s"?]+\?)[^\s"]+`)

// HideQueries takes the queries out of the addresses in a text: a storage that
// a registry sends others on to takes a signature there for a right.
func HideQueries(text string) string { return query.ReplaceAllString(text, "${1}***") }

// unsigned is an error whose text holds no signatures.
type unsigned struct{ error }

func (e unsigned) Error() string { return HideQueries(e.error.Error()) }

func (e unsigned) Unwrap() error { return e.error }

// explainLogin is explain for what came up before anything was asked for. Who
// does not know the address at which registries begin is none.
func (r *Repository) explainLogin(err error) error {
	err = r.explain(err)
	if !IsNotFound(err) {
		return err
	}
	if host := failedHost(err); host != "" && host != r.name.RegistryStr() {
		return &Error{Kind: Unreachable, Sentence: r.whoFailed(err) + " has nothing there (404): have the registry's token service looked at", Cause: err}
	}
	return r.noRegistry(err)
}

// noRegistry says that something else than a registry answered.
func (r *Repository) noRegistry(cause error) *Error {
	return &Error{Kind: Unreachable, Sentence: fmt.Sprintf("%s answers, but not as a registry: correct the host in the image's name", r.name.RegistryStr()), Cause: cause}
}

// whoFailed begins a sentence with the host that a request failed at, which may
// be another one than the registry's: that of its token service, or of its
// storage.
func (r *Repository) whoFailed(err error) string {
	host := r.name.RegistryStr()
	if failed := failedHost(err); failed != "" && failed != host {
		return fmt.Sprintf("the host %s, to which the registry %s sends the build,", failed, host)
	}
	return "the registry " + host
}

// failedHost returns the host of the request that failed, or "".
func failedHost(err error) string {
	var answer *transport.Error
	if errors.As(err, &answer) && answer.Request != nil {
		return answer.Request.URL.Host
	}
	var request *url.Error
	if errors.As(err, &request) {
		if at, err := url.Parse(request.URL); err == nil {
			return at.Host
		}
	}
	return ""
}

// explainAnswer explains a status code.
func (r *Repository) explainAnswer(answer *transport.Error, err error) error {
	who, repository := r.whoFailed(err), r.name.RepositoryStr()
	e := &Error{Cause: err}
	switch code := answer.StatusCode; code {
	case http.StatusUnauthorized:
		e.Kind = Unauthorized
		e.Sentence = fmt.Sprintf("%s does not let the build in to %s (401), which asked %s", who, repository, r.account)
	case http.StatusForbidden:
		e.Kind = Unauthorized
		e.Sentence = fmt.Sprintf("%s forbids what the build needs in %s (403), which asked %s", who, repository, r.account)
	case http.StatusNotFound:
		e.Kind = NotFound
		e.Sentence = fmt.Sprintf("%s does not have that in %s (404)", who, repository)
	case http.StatusTooManyRequests:
		e.Transient = true
		e.Sentence = who + " turns the build away, because it got too many requests (429): wait, or use an account with a higher limit"
	case http.StatusRequestEntityTooLarge, http.StatusInsufficientStorage:
		e.Kind = Full
		e.Sentence = fmt.Sprintf("%s does not take that much in %s (%d): have its limit or its quota raised", who, repository, code)
	default:
		e.Transient = slices.Contains(retryStatusCodes, code)
		e.Sentence = fmt.Sprintf("%s answers with the error %d %s", who, code, http.StatusText(code))
	}
	return e
}

// refusedRealm begins what the library says of a token service at a private
// address: a registry that was broken into could send the credentials there.
const refusedRealm = "invalid realm in www-authenticate"

// silence says why no usable answer came, as the end of a sentence, and whether
// one may come a little later.
func (r *Repository) silence(err error) (words string, transient bool) {
	var dns *net.DNSError
	var network net.Error
	switch {
	case !r.plain && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "speaks plain HTTP and not HTTPS: if that is meant, name the host among the plain-HTTP registries of the operator's configuration", false
	case errors.As(err, &dns):
		return "is not known by that name in the cluster's DNS: correct the host in the image's name, or have the name added to the DNS", dns.IsTemporary || dns.IsTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refuses the connection: correct the host and port, or start it", true
	case errors.Is(err, errCircle):
		return "sends the build in a circle, from one address to the next: correct the host in the image's name, or mend the registry", false
	case errors.Is(err, errPlainHTTP):
		return "cannot be reached by HTTPS, and plain HTTP is only used for hosts that the operator's configuration names", false
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout():
		return "does not answer in time: see whether it works, and whether a firewall is in the way", true
	case strings.Contains(err.Error(), refusedRealm):
		return fmt.Sprintf("sends the build for a token to an address that is not safe to go to: give its token service a host name and, unless the registry itself is spoken to in plain HTTP, HTTPS (%v)", err), false
	default:
		return "cannot be talked to: " + err.Error(), true
	}
}

// badCertificate says what is wrong with a certificate, or "".
func badCertificate(err error) string {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &authority):
		return "shows a certificate of an unknown authority: put the authority's certificate into the operator's configuration"
	case errors.As(err, &hostname) || errors.As(err, &certificate):
		return "shows a certificate that is not valid for it: " + err.Error()
	default:
		return ""
	}
}
