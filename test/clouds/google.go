package clouds

import (
	"net/http"
	"strings"
	"testing"
)

// Email is the address of Google's service account.
const Email = "kiln@project.iam.gserviceaccount.com"

// Google imitates the metadata server of GKE
// (https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity). The
// tokens are access tokens.
type Google struct {
	issuer
	// bearer issues the tokens of Artifact Registry.
	bearer issuer
}

// StartGoogle returns a Google whose metadata server is that of the pod, which has no
// other identity.
func StartGoogle(t *testing.T) *Google {
	t.Helper()
	NoIdentity(t)
	g := &Google{}
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(serve(t, g), "http://"))
	return g
}

// PermissionDenied is a refusal of the metadata server.
func PermissionDenied(w http.ResponseWriter) {
	http.Error(w, "Unable to generate access token; IAM returned 403 Forbidden: Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).", http.StatusForbidden)
}

func (g *Google) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google")
	switch {
	case r.Header.Get("Metadata-Flavor") != "Google":
		http.Error(w, "Missing Metadata-Flavor:Google header.", http.StatusForbidden)
	case r.URL.Path == "/computeMetadata/v1/instance/service-accounts/default/token":
		if token, lifetime, ok := g.issue(w, "access"); ok {
			reply(w, http.StatusOK, "application/json", `{"access_token": %q, "expires_in": %d, "token_type": "Bearer"}`, token, int(lifetime.Seconds()))
		}
	case r.URL.Path == "/computeMetadata/v1/instance/service-accounts/default/email":
		reply(w, http.StatusOK, "application/text", "%s", Email)
	default:
		http.NotFound(w, r)
	}
}

// ArtifactRegistry requires bearer tokens, which it issues for access tokens of
// Google.
func (g *Google) ArtifactRegistry(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/token" {
			if user, password, _ := r.BasicAuth(); user != "oauth2accesstoken" || !g.Valid(password) {
				http.Error(w, `{"errors": [{"code": "UNAUTHORIZED", "message": "authentication failed"}]}`, http.StatusUnauthorized)
				return
			}
			if token, _, ok := g.bearer.issue(w, "bearer"); ok {
				reply(w, http.StatusOK, "application/json", `{"token": %q}`, token)
			}
			return
		}
		requireBearer(w, r, &g.bearer, "/v2/token", inner)
	})
}

// ExpireAll ends the validity of all tokens that were issued.
func (g *Google) ExpireAll() {
	g.issuer.ExpireAll()
	g.bearer.ExpireAll()
}

// requireBearer passes a request on if it has a valid token.
func requireBearer(w http.ResponseWriter, r *http.Request, tokens *issuer, realm string, inner http.Handler) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !tokens.Valid(token) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+realm+`",service="`+r.Host+`"`)
		http.Error(w, `{"errors": [{"code": "UNAUTHORIZED", "message": "unauthenticated"}]}`, http.StatusUnauthorized)
		return
	}
	inner.ServeHTTP(w, r)
}
