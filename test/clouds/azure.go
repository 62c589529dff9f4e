package clouds

import (
	"net/http"
	"testing"
)

// Identifiers of Azure's application.
const (
	ClientID = "6e1f5c1d-7a1b-4a52-8f0e-0d1f8f6f2a10"
	TenantID = "72f988bf-86f1-41af-91ab-2d7cd011db47"
)

// Azure imitates the token endpoint of Microsoft Entra ID
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow),
// and the endpoints of Azure Container Registry that exchange tokens
// (https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md). The tokens are refresh
// tokens of the registry.
type Azure struct {
	issuer
	// Entra issues the tokens with which the registry is asked.
	Entra issuer
	// access issues the registry's access tokens.
	access issuer
	url    string
}

// StartAzure returns an Azure, and no identity in the environment.
func StartAzure(t *testing.T) *Azure {
	t.Helper()
	NoIdentity(t)
	a := &Azure{}
	a.url = serve(t, http.HandlerFunc(a.serveEntra))
	return a
}

// Project projects an Azure identity into the pod, as Azure's webhook does.
func (a *Azure) Project(t *testing.T) {
	t.Helper()
	t.Setenv("AZURE_CLIENT_ID", ClientID)
	t.Setenv("AZURE_TENANT_ID", TenantID)
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", projectToken(t))
	t.Setenv("AZURE_AUTHORITY_HOST", a.url+"/")
}

// NoFederatedCredential is a refusal of Microsoft Entra ID.
func NoFederatedCredential(w http.ResponseWriter) {
	reply(w, http.StatusUnauthorized, "application/json", `{"error": "invalid_client", "error_description": "AADSTS70021: No matching federated identity record found for presented assertion %s. Trace ID: 1"}`, ServiceAccountToken)
}

func (a *Azure) serveEntra(w http.ResponseWriter, r *http.Request) {
	granted := r.URL.Path == "/"+TenantID+"/oauth2/v2.0/token" && r.FormValue("grant_type") == "client_credentials" &&
		r.FormValue("client_id") == ClientID && r.FormValue("client_assertion") == ServiceAccountToken &&
		r.FormValue("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" &&
		r.FormValue("scope") == "https://containerregistry.azure.net/.default"
	if !granted {
		http.Error(w, `{"error": "invalid_request"}`, http.StatusBadRequest)
		return
	}
	if token, lifetime, ok := a.Entra.issue(w, "entra"); ok {
		reply(w, http.StatusOK, "application/json", `{"token_type": "Bearer", "expires_in": %d, "access_token": %q}`, int(lifetime.Seconds()), token)
	}
}

// ContainerRegistry requires access tokens, which it issues for its refresh tokens,
// and those for tokens of Microsoft Entra ID.
func (a *Azure) ContainerRegistry(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/oauth2/exchange":
			a.exchange(w, r)
		case "/oauth2/token":
			if !a.Valid(r.FormValue("refresh_token")) {
				http.Error(w, `{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}`, http.StatusUnauthorized)
				return
			}
			if token, _, ok := a.access.issue(w, "access"); ok {
				reply(w, http.StatusOK, "application/json", `{"access_token": %q}`, token)
			}
		default:
			requireBearer(w, r, &a.access, "/oauth2/token", inner)
		}
	})
}

func (a *Azure) exchange(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("grant_type") != "access_token" || r.FormValue("service") != r.Host || !a.Entra.Valid(r.FormValue("access_token")) {
		http.Error(w, `{"errors": [{"code": "UNAUTHORIZED", "message": "the token `+r.FormValue("access_token")+` is not valid"}]}`, http.StatusUnauthorized)
		return
	}
	if token, _, ok := a.issue(w, "refresh"); ok {
		reply(w, http.StatusOK, "application/json", `{"refresh_token": %q}`, token)
	}
}

// ExpireAll ends the validity of all tokens that were issued.
func (a *Azure) ExpireAll() {
	a.issuer.ExpireAll()
	a.access.ExpireAll()
}
