package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
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
)

// Error is an error of a registry.
type Error struct {
	Kind Kind
	// Sentence is for people and names the registry.
	Sentence string
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
	host := r.name.RegistryStr()
	var answer *transport.Error
	if errors.As(err, &answer) {
		return r.explainAnswer(answer, err)
	}
	return &Error{Kind: Unreachable, Sentence: fmt.Sprintf("the registry %s %s", host, silence(err)), Cause: err}
}

// explainAnswer explains a status code.
func (r *Repository) explainAnswer(answer *transport.Error, err error) error {
	host, repository := r.name.RegistryStr(), r.name.RepositoryStr()
	e := &Error{Cause: err}
	switch code := answer.StatusCode; code {
	case http.StatusUnauthorized:
		e.Kind = Unauthorized
		e.Sentence = fmt.Sprintf("the registry %s does not let the build in to %s (401), which asked %s", host, repository, r.account)
	case http.StatusForbidden:
		e.Kind = Unauthorized
		e.Sentence = fmt.Sprintf("the registry %s forbids what the build needs in %s (403), which asked %s", host, repository, r.account)
	case http.StatusNotFound:
		e.Kind = NotFound
		e.Sentence = fmt.Sprintf("the registry %s does not have that in %s (404)", host, repository)
	case http.StatusTooManyRequests:
		e.Sentence = fmt.Sprintf("the registry %s turns the build away, because it got too many requests (429): wait, or use an account with a higher limit", host)
	default:
		e.Sentence = fmt.Sprintf("the registry %s answers with the error %d %s", host, code, http.StatusText(code))
	}
	return e
}

// silence says why no usable answer came, as the end of a sentence.
func silence(err error) string {
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var certificate *tls.CertificateVerificationError
	var network net.Error
	switch {
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "speaks plain HTTP and not HTTPS: if that is meant, name the host among the plain-HTTP registries of the operator's configuration"
	case errors.As(err, &authority):
		return "shows a certificate of an unknown authority: put the authority's certificate into the operator's configuration"
	case errors.As(err, &hostname) || errors.As(err, &certificate):
		return "shows a certificate that is not valid for it: " + err.Error()
	case errors.As(err, &dns):
		return "is not known by that name in the cluster's DNS: correct the host in imageRepo"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refuses the connection: correct the host and port, or start it"
	case errors.Is(err, errCircle):
		return "sends the build in a circle, from one address to the next: correct the host in the image's name, or mend the registry"
	case errors.Is(err, errPlainHTTP):
		return "cannot be reached by HTTPS, and plain HTTP is only used for hosts that the operator's configuration names"
	case errors.As(err, &network) && network.Timeout():
		return "does not answer in time"
	default:
		return "cannot be talked to: " + err.Error()
	}
}
