package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Error is why an identity has no credentials for a registry.
type Error struct {
	// Message is for users: one line without secrets, which says what to do.
	Message string
	// Transient reports whether the same request may succeed a little later.
	Transient bool
	// Absent is true if the service account has no identity.
	Absent bool
}

func (e *Error) Error() string { return e.Message }

// ErrNotServed is the error for a host that is not a registry of a cloud.
var ErrNotServed = &Error{Message: "not a registry of a cloud with identities", Absent: true}

// remember returns how long the error is remembered. Whether there is an identity does
// not change while a pod runs.
func (e *Error) remember() time.Duration {
	switch {
	case e.Absent:
		return 24 * time.Hour
	case e.Transient:
		return retryTransient
	default:
		return retryRefused
	}
}

// errAbsent is returned if the service account has no identity.
var errAbsent = errors.New("no identity")

// refusal is the refusal of a cloud to issue a token.
type refusal struct {
	// account describes the identity, and words are the cloud's.
	account, words string
	transient      bool
}

func (r refusal) Error() string { return r.words }

// unavailable returns the refusal for a failed request: there was no answer, or the
// file with the token of the service account cannot be read.
func unavailable(account string, err error) refusal {
	var file *fs.PathError
	var request *url.Error
	switch {
	case errors.As(err, &file):
		return refusal{account: account, words: file.Error()}
	case errors.As(err, &request):
		return refusal{account: account, words: request.Error(), transient: true}
	default:
		return refusal{account: account, words: err.Error(), transient: true}
	}
}

// maxName is how many characters a message repeats of the name of an identity, which an
// annotation may contain.
const maxName = 150

// nameOf returns the name of an identity for messages.
func nameOf(name string) string { return text.OneLine(name, maxName) }

// maxWords is how many characters a message repeats of what a cloud answered.
const maxWords = 140

// asError returns an error of obtain as one for users.
func asError(c *cloud, err error) *Error {
	var r refusal
	switch {
	case errors.Is(err, errAbsent):
		return &Error{Absent: true, Message: fmt.Sprintf("%s has no identity of %s: kubectl annotate serviceaccount %s %s, or create a Secret", serviceAccount, c.name, contract.BuildServiceAccount, c.annotation)}
	case !errors.As(err, &r):
		r = refusal{account: "the identity of " + serviceAccount, words: err.Error(), transient: true}
	}
	words := text.OneLine(redact(r.words), maxWords)
	if r.transient {
		return &Error{Transient: true, Message: fmt.Sprintf("%s issued no token to %s (%s): check that the build can reach its token service", c.name, r.account, words)}
	}
	return &Error{Message: fmt.Sprintf("%s refused %s (%s): %s, or create a Secret", c.name, r.account, words, c.trust)}
}

// jwt matches the start of a JSON web token, and all that follows.
var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}[A-Za-z0-9_.=-]*`)

// tokenFiles are the variables with the files that prove the pod's identity, and
// secretVariables those with secrets.
var (
	tokenFiles      = []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE"}
	secretVariables = []string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"}
)

// redact removes from the answer of a cloud what proves the pod's identity to it.
func redact(words string) string {
	var secrets []string
	for _, variable := range secretVariables {
		secrets = append(secrets, os.Getenv(variable))
	}
	for _, variable := range tokenFiles {
		if content, err := os.ReadFile(os.Getenv(variable)); err == nil {
			secrets = append(secrets, strings.TrimSpace(string(content)))
		}
	}
	for _, secret := range secrets {
		if secret != "" {
			words = strings.ReplaceAll(words, secret, "***")
		}
	}
	return jwt.ReplaceAllString(words, "***")
}
