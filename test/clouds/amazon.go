package clouds

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Role is the role of Amazon's service account.
const Role = "arn:aws:iam::123456789012:role/modelkiln"

// Amazon imitates the actions AssumeRoleWithWebIdentity of STS
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html)
// and GetAuthorizationToken of ECR and ECR Public
// (https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html),
// and the agent of EKS Pod Identity. The tokens are those of ECR.
type Amazon struct {
	issuer
	// Session issues the credentials with which ECR is asked.
	Session issuer
	url     string
}

// StartAmazon returns an Amazon, and no identity in the environment.
func StartAmazon(t *testing.T) *Amazon {
	t.Helper()
	NoIdentity(t)
	a := &Amazon{}
	a.url = serve(t, a)
	for _, service := range []string{"STS", "ECR", "ECR_PUBLIC"} {
		t.Setenv("AWS_ENDPOINT_URL_"+service, a.url)
	}
	return a
}

// ProjectRole projects an IAM role for the service account into the pod, as the
// webhook of EKS does.
func (a *Amazon) ProjectRole(t *testing.T) {
	t.Helper()
	t.Setenv("AWS_ROLE_ARN", Role)
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", projectToken(t))
	t.Setenv("AWS_REGION", "eu-west-1")
}

// ProjectPodIdentity projects an EKS Pod Identity.
func (a *Amazon) ProjectPodIdentity(t *testing.T) {
	t.Helper()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", a.url+"/v1/credentials")
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", projectToken(t))
}

// AccessDenied is a refusal of an API of Amazon, in both of its protocols. The message
// quotes the token of the service account.
func AccessDenied(w http.ResponseWriter) {
	w.Header().Set("X-Amzn-ErrorType", "AccessDenied")
	reply(w, http.StatusForbidden, "text/xml", `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity with %s %s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, ServiceAccountToken, strings.Repeat("really ", 200))
}

func (a *Amazon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target := r.Header.Get("X-Amz-Target")
	switch {
	case r.URL.Path == "/v1/credentials":
		a.assume(w, r.Header.Get("Authorization"), `{"AccessKeyId": "AKIA1", "SecretAccessKey": "secret-key", "Token": %q, "Expiration": %q}`, "application/json")
	case r.FormValue("Action") == "AssumeRoleWithWebIdentity":
		a.assume(w, r.FormValue("WebIdentityToken"), `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AKIA1</AccessKeyId><SecretAccessKey>secret-key</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, "text/xml")
	case !a.Session.Valid(r.Header.Get("X-Amz-Security-Token")):
		http.Error(w, `{"__type": "UnrecognizedClientException", "message": "The security token included in the request is invalid."}`, http.StatusBadRequest)
	case target == "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken":
		a.authorize(w, `{"authorizationData": [{"authorizationToken": %q, "expiresAt": %f}]}`)
	case target == "SpencerFrontendService.GetAuthorizationToken":
		a.authorize(w, `{"authorizationData": {"authorizationToken": %q, "expiresAt": %f}}`)
	default:
		http.NotFound(w, r)
	}
}

func (a *Amazon) assume(w http.ResponseWriter, proof, format, contentType string) {
	if proof != ServiceAccountToken {
		http.Error(w, "not the token of the service account", http.StatusForbidden)
		return
	}
	if token, lifetime, ok := a.Session.issue(w, "session"); ok {
		reply(w, http.StatusOK, contentType, format, token, time.Now().Add(lifetime).UTC().Format(time.RFC3339))
	}
}

func (a *Amazon) authorize(w http.ResponseWriter, format string) {
	if token, lifetime, ok := a.issue(w, "ecr"); ok {
		encoded := base64.StdEncoding.EncodeToString([]byte("AWS:" + token))
		reply(w, http.StatusOK, "application/x-amz-json-1.1", format, encoded, float64(time.Now().Add(lifetime).UnixMilli())/1000)
	}
}

// ElasticContainerRegistry requires the tokens of Amazon, in basic authentication.
func (a *Amazon) ElasticContainerRegistry(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "AWS" || !a.Valid(password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="https://ecr.amazonaws.com/",service="ecr.amazonaws.com"`)
			http.Error(w, `{"errors": [{"code": "DENIED", "message": "Your authorization token has expired. Reauthenticate and try again."}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
}
