package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"cloud.google.com/go/compute/metadata"
	"github.com/google/go-containerregistry/pkg/authn"
)

const (
	// probeTimeout is how long the metadata server may take to accept a connection,
	// after which there is none: outside of Google Cloud, packets to its address may
	// get lost.
	probeTimeout = 2 * time.Second
	// probeInterval is the time between two attempts: on GKE, the server may refuse
	// connections of a pod in its first second.
	probeInterval = 250 * time.Millisecond
	// googleScope is the scope of an access token that may push.
	googleScope = "https://www.googleapis.com/auth/cloud-platform"
)

// google obtains an access token from the metadata server, which on GKE with Workload
// Identity is that of the service account.
func google(r request) (Credential, error) {
	// A proxy does not reach the metadata server.
	server := &statusRecorder{inner: &http.Transport{}}
	client := metadata.NewClient(&http.Client{Transport: server})
	raw, err := probe(r, client, server)
	if err != nil {
		return Credential{}, err
	}
	var token struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(raw), &token); err != nil || token.AccessToken == "" {
		return Credential{}, errAbsent
	}
	return Credential{
		AuthConfig: authn.AuthConfig{Username: "oauth2accesstoken", Password: token.AccessToken},
		Expires:    time.Now().Add(time.Duration(token.ExpiresIn) * time.Second),
		Account:    googleAccount(r, client),
	}, nil
}

// statusRecorder is a transport that remembers the status of the last response.
type statusRecorder struct {
	inner http.RoundTripper
	code  int
}

func (s *statusRecorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.inner.RoundTrip(req)
	if err == nil {
		s.code = resp.StatusCode
	}
	return resp, err
}

// probe requests a token. A server that does not respond, or does not know the
// request, is not Google's: on other clouds, another one has the same address.
func probe(ctx context.Context, client *metadata.Client, server *statusRecorder) (string, error) {
	probing, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	path := "instance/service-accounts/default/token?scopes=" + url.QueryEscape(googleScope)
	for {
		raw, err := client.GetWithContext(probing, path)
		var answered *metadata.Error
		var undefined metadata.NotDefinedError
		switch {
		case err == nil:
			return raw, nil
		case errors.As(err, &undefined):
			return "", errAbsent
		case errors.As(err, &answered):
			return "", googleRefusal(answered)
		}
		select {
		case <-probing.Done():
			// The library was about to repeat the request.
			return "", googleRefusal(&metadata.Error{Code: server.code})
		case <-time.After(probeInterval):
		}
	}
}

func googleRefusal(answered *metadata.Error) error {
	switch code := answered.Code; {
	case code == http.StatusForbidden:
		return refusal{account: "the identity of " + serviceAccount, words: answered.Message}
	case code == http.StatusTooManyRequests || code >= http.StatusInternalServerError:
		return refusal{account: "the identity of " + serviceAccount, words: fmt.Sprintf("%d %s", code, answered.Message), transient: true}
	default:
		return errAbsent
	}
}

// googleAccount describes the identity, with its address if the server tells it.
func googleAccount(ctx context.Context, client *metadata.Client) string {
	bounded, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	email, err := client.EmailWithContext(bounded, "default")
	if err != nil || email == "" {
		return "the Google identity of " + serviceAccount
	}
	return fmt.Sprintf("the Google identity %s of %s", nameOf(email), serviceAccount)
}
