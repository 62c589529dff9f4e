package remote

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// createToken creates the Secret of a hub from a file.
const createToken = "kubectl create secret generic NAME --from-file=token=FILE"

// Codes in the header X-Error-Code of the hub's responses (huggingface_hub/errors.py in
// github.com/huggingface/huggingface_hub).
const (
	gatedRepo        = "GatedRepo"
	repoNotFound     = "RepoNotFound"
	revisionNotFound = "RevisionNotFound"
	disabledRepo     = "DisabledRepo"
)

// refuse returns the failure of a response with an error. name is the path of the file
// that was requested, or "" for the API.
func (r *repository) refuse(resp *http.Response, name string) error {
	isDenied := resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden
	code := resp.Header.Get("X-Error-Code")
	words := resp.Header.Get("X-Error-Message")
	switch {
	case isDenied && !r.isOwn(resp.Request.URL):
		f := failure.New(v1alpha1.ReasonSourceUnavailable, "the host %s, to which %s redirects the build, denied the download (%d): retry; if the error remains, check the proxies on the way", shown(resp.Request.URL.Host), r.name, resp.StatusCode)
		f.Transient = true
		return f
	case code == gatedRepo:
		return r.refuseGated()
	case code == revisionNotFound:
		return failure.New(v1alpha1.ReasonSourceMissing, "the repository %s has no such revision: correct storage.huggingFace.revision; %s/tree/main lists the branches", r.repo, r.page())
	case code == disabledRepo:
		return failure.New(v1alpha1.ReasonSourceUnauthorized, "%s has disabled the repository %s: choose another one", r.name, r.repo)
	case r.isMissing(resp, code, name):
		return r.refuseMissing()
	case isDenied:
		return r.refuseToken(resp.StatusCode, words)
	case name != "" && (resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusRequestedRangeNotSatisfiable):
		return source.Changing(name)
	}
	return delayed{r.refused(resp.StatusCode, words), retryAfter(resp.Header)}
}

// page returns the address of the repository for people.
func (r *repository) page() string { return r.endpoint.JoinPath(r.repo).String() }

func (r *repository) refuseGated() error {
	if r.token == "" {
		return failure.New(v1alpha1.ReasonSourceUnauthorized, "the repository %s is gated: accept its licence at %s, create a Secret with a token of that account, and set storage.huggingFace.tokenSecretName: %s", r.repo, r.page(), createToken)
	}
	return failure.New(v1alpha1.ReasonSourceUnauthorized, "the repository %s is gated, and the account of the token has no access: accept its licence at %s with that account, wait until the access is granted, then retry", r.repo, r.page())
}

// explainDecoding returns an error of decoding an answer of the API as a failure.
func (r *repository) explainDecoding(ctx context.Context, err error) error {
	var failed *failure.Error
	var syntax *json.SyntaxError
	var other *json.UnmarshalTypeError
	switch {
	case errors.As(err, &failed):
		return err
	case errors.As(err, &syntax) || errors.As(err, &other) || errors.Is(err, errNoList):
		return r.fail(v1alpha1.ReasonSourceUnavailable, err, "%s did not answer as a hub does: check that storage.huggingFace.endpoint is the address of one", r.name)
	default:
		return r.unreachable(ctx, err)
	}
}

// newName matches the name of a repository in an address of the API.
var newName = regexp.MustCompile(`/api/models/([-\w.]+/[-\w.]+)/`)

// refuseMoved returns the failure of a request that is redirected: the hub does so for
// repositories that were renamed. The new name is not one that the rules have allowed.
func (r *repository) refuseMoved(resp *http.Response) error {
	location := resp.Header.Get("Location")
	if found := newName.FindStringSubmatch(location); found != nil && found[1] != r.repo {
		return failure.New(v1alpha1.ReasonSourceMissing, "the repository %s was renamed to %s: write this name as storage.huggingFace.repo", r.repo, shown(found[1]))
	}
	// What follows the host can be a credential.
	if to, err := url.Parse(location); err == nil && to.Host != "" {
		location = to.Scheme + "://" + to.Host
	}
	return failure.New(v1alpha1.ReasonSourceUnavailable, "%s redirects the build to %q: write the address of the hub itself as storage.huggingFace.endpoint", r.name, r.quote(location))
}

// isMissing reports whether a response says that the repository does not exist. To
// accounts that may not read it, the hub says the same, and to nobody in particular that
// a token is required.
func (r *repository) isMissing(resp *http.Response, code, name string) bool {
	return code == repoNotFound ||
		code == "" && name == "" && resp.StatusCode == http.StatusNotFound ||
		code == "" && resp.StatusCode == http.StatusUnauthorized && r.token == ""
}

func (r *repository) refuseMissing() error {
	if r.token == "" {
		return failure.New(v1alpha1.ReasonSourceUnauthorized, "the repository %s does not exist at %s, or is private: correct storage.huggingFace.repo, or set tokenSecretName to a Secret with a token: %s", r.repo, r.name, createToken)
	}
	return failure.New(v1alpha1.ReasonSourceMissing, "the repository %s does not exist at %s, or the account of the token may not read it: correct storage.huggingFace.repo, or use the token of a member", r.repo, r.name)
}

// refuseToken returns the failure of a request that was denied.
func (r *repository) refuseToken(code int, words string) error {
	said := strconv.Itoa(code)
	if words = r.quote(words); words != "" {
		said += ": " + words
	}
	if r.token == "" {
		return failure.New(v1alpha1.ReasonSourceUnauthorized, "%s denied access to the repository %s (%s): set storage.huggingFace.tokenSecretName to a Secret with a token: %s", r.name, r.repo, said, createToken)
	}
	return failure.New(v1alpha1.ReasonSourceUnauthorized, "%s rejects the token for the repository %s (%s): it has expired, was revoked, or may not read the repository; replace the Secret: %s", r.name, r.repo, said, createToken)
}

// resetAfter matches the time until a limit is reset in the header RateLimit
// (draft-ietf-httpapi-ratelimit-headers), which the hub sends instead of Retry-After.
var resetAfter = regexp.MustCompile(`;\s*t=([0-9]{1,6})`)

// retryAfter returns how long a server asks to wait, or 0.
func retryAfter(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if value == "" {
		if found := resetAfter.FindStringSubmatch(header.Get("RateLimit")); found != nil {
			value = found[1]
		}
	}
	if seconds, err := strconv.Atoi(value); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return time.Until(at)
	}
	return 0
}
