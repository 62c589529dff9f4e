package registry

import (
	"net/http"
	"slices"
	"strings"
	"sync"
)

const (
	// maxTokens is how many tokens are remembered. Registries issue a new one every few
	// minutes, and one for each scope.
	maxTokens = 64
	// minToken is how long a token is, at least. A shorter one is no secret, and part of
	// many words.
	minToken = 8
)

// tokens are those that were sent to a registry. The library obtains them, in exchange
// for credentials, and does not tell.
type tokens struct {
	mu   sync.Mutex
	sent []string
}

// recorder is a transport that remembers the tokens of requests.
type recorder struct {
	inner  http.RoundTripper
	tokens *tokens
}

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, token, found := strings.Cut(req.Header.Get("Authorization"), " "); found {
		r.tokens.add(token)
	}
	return r.inner.RoundTrip(req)
}

func (t *tokens) add(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(token) < minToken || slices.Contains(t.sent, token) {
		return
	}
	if len(t.sent) == maxTokens {
		t.sent = t.sent[1:]
	}
	t.sent = append(t.sent, token)
}

// redact replaces the tokens in a text.
func (t *tokens) redact(message string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, token := range t.sent {
		message = strings.ReplaceAll(message, token, "***")
	}
	return message
}
