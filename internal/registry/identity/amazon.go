package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-containerregistry/pkg/authn"
)

const (
	// publicRegion is the only region with the API of public registries.
	publicRegion = "us-east-1"
	// amazonName is what messages call the cloud.
	amazonName = "AWS"
	// maxBackoff is the longest delay between two of three attempts.
	maxBackoff = time.Second
)

// amazon obtains an authorization token of ECR, which is valid for 12 hours.
func amazon(r request) (Credential, error) {
	region := publicRegion
	if groups := privateECR.FindStringSubmatch(r.host); groups != nil {
		region = groups[1]
	}
	loaded, account, err := loadAmazon(r, r.transport, region)
	if err != nil {
		return Credential{}, err
	}
	token, expires, err := amazonToken(r, loaded, region, publicECR.MatchString(r.host))
	if err != nil {
		return Credential{}, amazonRefusal(account, err)
	}
	decoded, err := base64.StdEncoding.DecodeString(token)
	user, password, found := strings.Cut(string(decoded), ":")
	if err != nil || !found {
		return Credential{}, refusal{account: account, words: "the token is not valid", transient: true}
	}
	return Credential{AuthConfig: authn.AuthConfig{Username: user, Password: password}, Expires: expires, Account: account}, nil
}

// Keys sign requests to Amazon's APIs.
type Keys struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	// Expires is when they cease to be valid; zero if they stay valid.
	Expires time.Time
	// Account describes whose they are, for messages.
	Account string
}

// AmazonKeys obtains keys by the identity that EKS projected into the pod. The region
// is that of the token service if EKS sets none. The error is an *Error, which is Absent
// if there is no identity.
func AmazonKeys(ctx context.Context, transport *http.Transport, region string) (Keys, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	keys, err := amazonKeys(ctx, transport, region)
	if err != nil {
		return Keys{}, asError(find(func(c cloud) bool { return c.name == amazonName }), err)
	}
	return keys, nil
}

func amazonKeys(ctx context.Context, transport *http.Transport, region string) (Keys, error) {
	loaded, account, err := loadAmazon(ctx, transport, region)
	if err != nil {
		return Keys{}, err
	}
	keys, err := loaded.Credentials.Retrieve(ctx)
	if err != nil {
		return Keys{}, amazonRefusal(account, err)
	}
	return Keys{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken, Expires: keys.Expires, Account: account}, nil
}

// loadAmazon returns a configuration with the identity that EKS projected into the pod,
// and a description of that. The region is the one of which the token service is asked
// if EKS sets none.
func loadAmazon(ctx context.Context, transport *http.Transport, region string) (aws.Config, string, error) {
	account := amazonAccount()
	if account == "" {
		return aws.Config{}, "", errAbsent
	}
	for _, variable := range []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"} {
		if file := os.Getenv(variable); file != "" {
			// The error of the SDK does not wrap the cause.
			if _, err := os.ReadFile(file); err != nil {
				return aws.Config{}, "", unavailable(account, err)
			}
		}
	}
	loaded, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(amazonClient(transport)),
		config.WithDefaultRegion(region),
		config.WithEC2IMDSClientEnableState(imds.ClientDisabled),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = maxBackoff })
		}),
	)
	if err != nil {
		return aws.Config{}, "", refusal{account: account, words: err.Error()}
	}
	return loaded, account, nil
}

// amazonClient returns a client that uses the proxy and trusts the authorities of a
// transport. The SDK can add those of AWS_CA_BUNDLE to a client of this type only.
func amazonClient(transport *http.Transport) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTimeout(timeout).WithTransportOptions(func(t *http.Transport) {
		t.Proxy = transport.Proxy
		if transport.TLSClientConfig != nil {
			t.TLSClientConfig = transport.TLSClientConfig.Clone()
		}
	})
}

// amazonAccount describes the identity that EKS projected into the pod, or returns "".
func amazonAccount() string {
	role := os.Getenv("AWS_ROLE_ARN")
	switch {
	case os.Getenv("AWS_ACCESS_KEY_ID") != "":
		return "the AWS access key of the build"
	case role != "" && os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		return fmt.Sprintf("the AWS role %s of %s", nameOf(role), serviceAccount)
	case os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "" || os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "":
		return "the EKS Pod Identity of " + serviceAccount
	default:
		return ""
	}
}

// amazonToken returns an authorization token and when it expires.
func amazonToken(ctx context.Context, loaded aws.Config, region string, public bool) (string, time.Time, error) {
	if public {
		answer, err := ecrpublic.NewFromConfig(loaded, func(o *ecrpublic.Options) { o.Region = region }).GetAuthorizationToken(ctx, nil)
		if err != nil || answer.AuthorizationData == nil {
			return "", time.Time{}, err
		}
		return aws.ToString(answer.AuthorizationData.AuthorizationToken), aws.ToTime(answer.AuthorizationData.ExpiresAt), nil
	}
	answer, err := ecr.NewFromConfig(loaded, func(o *ecr.Options) { o.Region = region }).GetAuthorizationToken(ctx, nil)
	if err != nil || len(answer.AuthorizationData) == 0 {
		return "", time.Time{}, err
	}
	return aws.ToString(answer.AuthorizationData[0].AuthorizationToken), aws.ToTime(answer.AuthorizationData[0].ExpiresAt), nil
}

// amazonRefusal returns the error of one of Amazon's APIs as a refusal.
func amazonRefusal(account string, err error) error {
	var answered smithy.APIError
	var response *smithyhttp.ResponseError
	switch {
	case errors.As(err, &answered):
	case errors.As(err, &response):
		return refusal{account: account, words: response.Response.Status, transient: isTransient(response.HTTPStatusCode())}
	default:
		return unavailable(account, err)
	}
	code := answered.ErrorCode()
	_, throttled := retry.DefaultThrottleErrorCodes[code]
	_, retryable := retry.DefaultRetryableErrorCodes[code]
	return refusal{
		account: account, words: code + ": " + answered.ErrorMessage(),
		transient: throttled || retryable || code == "IDPCommunicationError" || answered.ErrorFault() == smithy.FaultServer,
	}
}
