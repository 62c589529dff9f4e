package registry

import (
	"errors"
	"net/http"
	"regexp"
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
		for _, secret := range r.credentials.Secrets() {
			words = strings.ReplaceAll(words, secret, "***")
		}
		if words = text.Sentence(RedactQueries(words), maxWords); words != "" {
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
	repositoryWords = regexp.MustCompile(`name_unknown|repositorynotfound|(repository|project)\b.{0,80}(does not exist|not found|unknown|no such)|no such (repository|project)`)
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

// kindOf returns the kind of error that a response is, by what it says before its
// status code.
func kindOf(code int, said string) Kind {
	refused := code >= http.StatusBadRequest && code < http.StatusInternalServerError
	denied := code == http.StatusUnauthorized || code == http.StatusForbidden
	switch {
	case code == http.StatusTooManyRequests || rateWords.MatchString(said) && refused:
		return RateLimited
	case code == http.StatusRequestEntityTooLarge, code == http.StatusInsufficientStorage:
		return QuotaExceeded
	case refused && code != http.StatusUnauthorized && (sizeWords.MatchString(said) || quotaWords.MatchString(said)):
		return QuotaExceeded
	case refused && code != http.StatusUnauthorized && immutableWords.MatchString(said):
		return TagImmutable
	case code == http.StatusPreconditionFailed, refused && code != http.StatusUnauthorized && code != http.StatusNotFound && policyWords.MatchString(said):
		return PolicyDenied
	case refused && repositoryWords.MatchString(said) && (!denied || strings.Contains(said, "name_unknown")):
		return RepositoryMissing
	case code == http.StatusNotFound:
		return NotFound
	case denied:
		return Unauthorized
	case code == http.StatusUnsupportedMediaType, refused && unsupported.MatchString(said):
		return Unsupported
	default:
		return Unreachable
	}
}
