// Package clouds imitates, for tests, what gives pods an identity on Amazon EKS, Google
// Kubernetes Engine and Azure Kubernetes Service: the token services and metadata
// servers of these clouds, and registries that accept nothing but their tokens. Each
// is named for what it imitates, and states where that is documented.
package clouds

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// issuer issues tokens that expire.
type issuer struct {
	mu       sync.Mutex
	lifetime func() time.Duration
	issued   map[string]time.Time
	requests int
	refuses  func() bool
	refusal  func(w http.ResponseWriter)
}

// SetLifetime sets how long tokens are valid that are issued from now on.
func (i *issuer) SetLifetime(lifetime time.Duration) {
	i.SetLifetimeFunc(func() time.Duration { return lifetime })
}

// SetLifetimeFunc sets what returns how long a token is valid that is issued.
func (i *issuer) SetLifetimeFunc(lifetime func() time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lifetime = lifetime
}

// ExpireAll ends the validity of all tokens that were issued.
func (i *issuer) ExpireAll() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for token := range i.issued {
		i.issued[token] = time.Time{}
	}
}

// Issued returns all tokens that were issued.
func (i *issuer) Issued() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var tokens []string
	for token := range i.issued {
		tokens = append(tokens, token)
	}
	return tokens
}

// Requests returns how often a token was requested.
func (i *issuer) Requests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests
}

// Valid reports whether a token was issued and has not expired.
func (i *issuer) Valid(token string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return time.Now().Before(i.issued[token])
}

// Refuse has every request refused; nil ends that.
func (i *issuer) Refuse(refusal func(w http.ResponseWriter)) {
	i.RefuseIf(func() bool { return refusal != nil }, refusal)
}

// RefuseIf has every request refused for which the condition is true.
func (i *issuer) RefuseIf(condition func() bool, refusal func(w http.ResponseWriter)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refuses, i.refusal = condition, refusal
}

// issue returns another token, in the form of a JSON web token, and its lifetime. It
// returns false if the request was refused.
func (i *issuer) issue(w http.ResponseWriter, kind string) (token string, lifetime time.Duration, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.requests++
	if i.refuses != nil && i.refuses() {
		i.refusal(w)
		return "", 0, false
	}
	lifetime = time.Hour
	if i.lifetime != nil {
		lifetime = i.lifetime()
	}
	if i.issued == nil {
		i.issued = map[string]time.Time{}
	}
	expires := time.Now().Add(lifetime)
	token = jwt(map[string]any{"kind": kind, "number": i.requests, "exp": float64(expires.UnixNano()/int64(time.Millisecond)) / 1000})
	i.issued[token] = expires
	return token, lifetime, true
}

// jwt returns an unsigned JSON web token.
func jwt(claims map[string]any) string {
	payload, _ := json.Marshal(claims)
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(payload) + ".c2lnbmF0dXJl"
}

// ServiceAccountToken is what Kubernetes issues for a service account, as the webhooks
// of clouds project it into pods. It must appear in no message.
var ServiceAccountToken = jwt(map[string]any{"sub": "system:serviceaccount:team-a:modelkiln-build"})

// projectToken writes the token of the service account to a file.
func projectToken(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(ServiceAccountToken), 0o600))
	return file
}

func serve(t *testing.T, handler http.Handler) (url string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func reply(w http.ResponseWriter, status int, contentType, format string, args ...any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, format, args...)
}

// variables are those from which an identity is read.
var variables = []string{
	"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
	"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
	"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST",
}

// NoIdentity removes every identity from the environment, as in a cluster without any.
// There is no metadata server.
func NoIdentity(t *testing.T) {
	t.Helper()
	for _, variable := range variables {
		t.Setenv(variable, "")
	}
	// Nothing listens there.
	t.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")
}
