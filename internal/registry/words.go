package registry

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/modelkiln/modelkiln/internal/text"
)

// maxWords is the number of characters that a message repeats of a registry's own
// message.
const maxWords = 200

// wordsOf returns a registry's own message in a response, or "": the first message of
// the specification's errors, as one line, without credentials and without queries of
// URLs, which may be signatures.
func (r *Repository) wordsOf(resp *transport.Error) string {
	for _, diagnostic := range resp.Errors {
		words := diagnostic.Message
		if words == "" {
			words = string(diagnostic.Code)
		}
		if words = text.Sentence(r.redact(words), maxWords); words != "" {
			return words
		}
	}
	return ""
}

// Patterns of the messages by which registries and proxies say why they refuse a
// request. Not every registry uses the codes of the specification, and their status
// codes differ: a quota is 403 or 412 at Harbor, 400 at Amazon ECR and 507 elsewhere.
var (
	rateWords       = regexp.MustCompile(`toomanyrequests|rate ?limit|too many requests|rate exceeded|throttl|slow ?down`)
	sizeWords       = regexp.MustCompile(`size_invalid|(request|body|payload|entity|content|blob|layer|upload|manifest)( \w+){0,4} (is |was |are )?(too (large|long|big)|exceeds?)|too (large|big|long) (a )?(request|body|payload|entity|layer|blob|upload)|maximum (permissible|allowed|layer|blob|upload|request) (limit|size)|(layer|blob|upload|body) size (limit|exceed)`)
	quotaWords      = regexp.MustCompile(`quota|exceeds? the (configured )?(upper )?(storage )?limit|will exceed|storage (limit|resource|capacity)|insufficient storage|no space left|disk (is )?full|limit ?exceeded`)
	immutableWords  = regexp.MustCompile(`immutab|cannot be overwritten|can't be overwritten|must not be overwritten|overwrit\w+ (is )?(not allowed|forbidden|denied|disabled)|tag\b.{0,80}already exists`)
	policyWords     = regexp.MustCompile(`policyviolation|not signed|unsigned|vulnerab|scann?(ed|ing)?\b|quarantin|cosign|notation|content trust|severity`)
	unsupported     = regexp.MustCompile(`media ?-?type|unsupported|not supported|zstd|unknown type`)
	nameUnknown     = regexp.MustCompile(`name_unknown`)
	repositoryWords = regexp.MustCompile(`repositorynotfound|(repository|project)\b.{0,80}(does not exist|not found|unknown|no such)|no such (repository|project)`)
)

// textOf returns what a response says, in lower case: the registry's codes and
// messages, or the page of a proxy. The library limits it to 64 KiB.
func textOf(err error) string {
	var resp *transport.Error
	if !errors.As(err, &resp) {
		return ""
	}
	if len(resp.Errors) == 0 {
		return strings.ToLower(resp.Error())
	}
	var all strings.Builder
	for _, diagnostic := range resp.Errors {
		all.WriteString(string(diagnostic.Code) + ": " + diagnostic.Message + "\n")
	}
	return strings.ToLower(all.String())
}

// speaksOfSize reports whether a response says that a request or a blob is too large.
func speaksOfSize(err error) bool { return sizeWords.MatchString(textOf(err)) }

// speaksOfQuota reports whether a response says that a quota is exhausted.
func speaksOfQuota(err error) bool { return quotaWords.MatchString(textOf(err)) }

// clientError matches the errors of go-containerregistry, as programs that use it
// print them: the request, and either the status code with the body or the codes and
// messages of the registry. RedactQueries takes the colon for a part of the query.
var clientError = regexp.MustCompile(`(?:GET|HEAD|POST|PATCH|PUT|DELETE) "?https?://[^\s"]+"?:? (?:unexpected status code (\d{3})\b)?(.*)`)

// KindOfMessage returns the kind of a registry's response from what a program that
// uses go-containerregistry has printed, and false if that is not about a response.
func KindOfMessage(message string) (Kind, bool) {
	found := clientError.FindStringSubmatch(message)
	if found == nil {
		return Unreachable, false
	}
	said := strings.ToLower(found[2])
	code, err := strconv.Atoi(found[1])
	switch {
	case err == nil:
	case strings.Contains(said, "unauthorized:"):
		code = http.StatusUnauthorized
	case strings.Contains(said, "denied:"):
		code = http.StatusForbidden
	case strings.Contains(said, "_unknown:"):
		code = http.StatusNotFound
	default:
		code = http.StatusBadRequest
	}
	return kindOf(code, said), err == nil || strings.Contains(said, ":")
}

// decisive are the status codes that tell the kind of error whatever the response says.
var decisive = map[int]Kind{
	http.StatusTooManyRequests:       RateLimited,
	http.StatusRequestEntityTooLarge: QuotaExceeded,
	http.StatusInsufficientStorage:   QuotaExceeded,
}

// meanings are the kinds of errors that a refusal has by what it says, unless its status
// code is one of except. The first one that matches counts.
var meanings = []struct {
	kind   Kind
	words  *regexp.Regexp
	except []int
}{
	{kind: RateLimited, words: rateWords},
	{kind: QuotaExceeded, words: sizeWords, except: []int{http.StatusUnauthorized}},
	{kind: QuotaExceeded, words: quotaWords, except: []int{http.StatusUnauthorized}},
	{kind: TagImmutable, words: immutableWords, except: []int{http.StatusUnauthorized}},
	{kind: PolicyDenied, words: policyWords, except: []int{http.StatusUnauthorized, http.StatusNotFound}},
	{kind: RepositoryMissing, words: nameUnknown},
	// Registries say so to everyone who has no permission.
	{kind: RepositoryMissing, words: repositoryWords, except: []int{http.StatusUnauthorized, http.StatusForbidden}},
	{kind: Unsupported, words: unsupported, except: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusPreconditionFailed}},
}

// indicative are the status codes that tell the kind of error if the response does not.
var indicative = map[int]Kind{
	http.StatusUnauthorized:         Unauthorized,
	http.StatusForbidden:            Unauthorized,
	http.StatusNotFound:             NotFound,
	http.StatusPreconditionFailed:   PolicyDenied,
	http.StatusUnsupportedMediaType: Unsupported,
}

// kindOf returns the kind of error that a response is.
func kindOf(code int, said string) Kind {
	if kind, found := decisive[code]; found {
		return kind
	}
	if code < http.StatusBadRequest || code >= http.StatusInternalServerError {
		return Unreachable
	}
	for _, meaning := range meanings {
		if !slices.Contains(meaning.except, code) && meaning.words.MatchString(said) {
			return meaning.kind
		}
	}
	if kind, found := indicative[code]; found {
		return kind
	}
	return Unreachable
}
