package identity

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	// azureScope is the scope of a token that registries accept, and nothing else.
	azureScope = "https://containerregistry.azure.net/.default"
	// azureAuthority issues tokens in the public cloud.
	azureAuthority = "https://login.microsoftonline.com/"
	// assertionType is the type of the token that Kubernetes issued (RFC 7523).
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// unknownLifetime is assumed for a refresh token that does not tell its
	// lifetime, which is three hours.
	unknownLifetime = time.Hour
	// maxAnswer is the maximum size of a registry's answer in bytes.
	maxAnswer = 64 << 10
)

// azure exchanges the token that Kubernetes issued for the service account for one of
// Microsoft Entra ID, and that for a refresh token of the registry.
func azure(r request) (Credential, error) {
	clientID, tenant, file := os.Getenv("AZURE_CLIENT_ID"), os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_FEDERATED_TOKEN_FILE")
	if clientID == "" || tenant == "" || file == "" {
		return Credential{}, errAbsent
	}
	account := fmt.Sprintf("the Azure identity %s of %s", nameOf(clientID), serviceAccount)
	assertion, err := os.ReadFile(file)
	if err != nil {
		return Credential{}, unavailable(account, err)
	}
	authority := strings.TrimSuffix(cmp.Or(os.Getenv("AZURE_AUTHORITY_HOST"), azureAuthority), "/")
	config := clientcredentials.Config{
		ClientID: clientID, Scopes: []string{azureScope}, AuthStyle: oauth2.AuthStyleInParams,
		TokenURL:       authority + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token",
		EndpointParams: url.Values{"client_assertion_type": {assertionType}, "client_assertion": {strings.TrimSpace(string(assertion))}},
	}
	token, err := config.Token(context.WithValue(r, oauth2.HTTPClient, r.client))
	if err != nil {
		return Credential{}, azureRefusal(account, err)
	}
	refresh, err := exchange(r, account, tenant, token.AccessToken)
	if err != nil {
		return Credential{}, err
	}
	return Credential{AuthConfig: authn.AuthConfig{IdentityToken: refresh}, Expires: expiry(refresh), Account: account}, nil
}

// azureRefusal returns the error of Microsoft Entra ID as a refusal.
func azureRefusal(account string, err error) error {
	var answered *oauth2.RetrieveError
	if !errors.As(err, &answered) {
		return unavailable(account, err)
	}
	words := cmp.Or(answered.ErrorDescription, answered.ErrorCode, answered.Response.Status)
	return refusal{account: account, words: words, transient: isTransient(answered.Response.StatusCode)}
}

// isTransient reports whether a request may succeed after an answer with this status.
func isTransient(code int) bool {
	return code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
}

// exchange returns a refresh token of the registry
// (https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md).
func exchange(r request, account, tenant, accessToken string) (string, error) {
	form := url.Values{"grant_type": {"access_token"}, "service": {r.host}, "tenant": {tenant}, "access_token": {accessToken}}
	req, err := http.NewRequestWithContext(r, http.MethodPost, r.scheme+"://"+r.host+"/oauth2/exchange", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := r.client.Do(req)
	if err != nil {
		return "", unavailable(account, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return "", refusal{account: account, words: strings.ReplaceAll(exchangeWords(resp, err), accessToken, "***"), transient: isTransient(resp.StatusCode)}
	}
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil || answer.RefreshToken == "" {
		return "", refusal{account: account, words: r.host + " returned no refresh token", transient: true}
	}
	return answer.RefreshToken, nil
}

// exchangeWords returns why the registry refused.
func exchangeWords(resp *http.Response, err error) string {
	var answered *transport.Error
	if errors.As(err, &answered) && len(answered.Errors) > 0 {
		return answered.Errors[0].Message
	}
	return resp.Status
}

// expiry returns when a refresh token expires, which is a claim in it.
func expiry(token string) time.Time {
	var claims struct {
		Expires float64 `json:"exp"`
	}
	parts := strings.Split(token, ".")
	if len(parts) == 3 {
		if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil && json.Unmarshal(payload, &claims) == nil && claims.Expires > 0 {
			return time.UnixMilli(int64(claims.Expires * 1000))
		}
	}
	return time.Now().Add(unknownLifetime)
}
