package remote

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry/identity"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// meaning is what an error code of an object store means.
type meaning int

const (
	changed meaning = iota + 1
	missingBucket
	archived
	denied
	unknownKey
	expired
	limited
	otherRegion
)

// meanings are those of the codes of Amazon S3
// (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), which other
// servers use too.
var meanings = map[string]meaning{
	"NoSuchKey": changed, "NoSuchVersion": changed, "PreconditionFailed": changed, "InvalidRange": changed,
	"NoSuchBucket":       missingBucket,
	"InvalidObjectState": archived,
	"AccessDenied":       denied, "AllAccessDisabled": denied, "AccountProblem": denied, "NotSignedUp": denied,
	"InvalidAccessKeyId": unknownKey, "SignatureDoesNotMatch": unknownKey,
	// The Versity Gateway's.
	"XAdminUserNotFound": unknownKey,
	"ExpiredToken":       expired, "ExpiredTokenException": expired, "InvalidToken": expired, "TokenRefreshRequired": expired,
	"SlowDown": limited, "SlowDownRead": limited, "Throttling": limited, "ThrottlingException": limited, "RequestLimitExceeded": limited, "TooManyRequests": limited,
	"PermanentRedirect": otherRegion, "TemporaryRedirect": otherRegion, "InvalidRegion": otherRegion, "AuthorizationHeaderMalformed": otherRegion,
}

// statusMeanings are those of status codes whose code says nothing.
var statusMeanings = map[int]meaning{
	http.StatusPreconditionFailed:           changed,
	http.StatusRequestedRangeNotSatisfiable: changed,
	http.StatusUnauthorized:                 denied,
	http.StatusForbidden:                    denied,
	http.StatusTooManyRequests:              limited,
	http.StatusServiceUnavailable:           limited,
	http.StatusMovedPermanently:             otherRegion,
	http.StatusTemporaryRedirect:            otherRegion,
}

// requesterPays matches what Amazon S3 and Google Cloud Storage answer if the account
// that reads a bucket has to pay for it.
var requesterPays = regexp.MustCompile(`(?i)requester.?pays|UserProjectMissing`)

// explain returns an error of the library as a failure. name is the path of the file
// that was requested, or RootDir for a list.
func (s *s3) explain(ctx context.Context, err error, name string) error {
	var failed *failure.Error
	var noKeys *identity.Error
	var malformed *xml.SyntaxError
	var answer minio.ErrorResponse
	switch {
	case err == nil || errors.As(err, &failed):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &noKeys):
		f := failure.New(v1alpha1.ReasonSourceUnauthorized, "%s", noKeys.Message)
		f.Transient = noKeys.Transient
		return f
	case errors.As(err, &malformed):
		f := s.fail(v1alpha1.ReasonSourceUnavailable, err, "%s did not answer as an object store does (%s): check storage.s3.endpoint", s.name, s.quote(malformed.Error()))
		// The answer may have been cut.
		f.Transient = true
		return f
	case !errors.As(err, &answer) || answer.StatusCode == 0:
		return s.unreachable(ctx, err)
	}
	if requesterPays.MatchString(answer.Code + " " + answer.Message) {
		return failure.New(v1alpha1.ReasonSourceUnauthorized, "the bucket %s is a requester-pays bucket, for which builds do not pay: copy the model into a bucket of your own", s.location.Bucket)
	}
	means, known := meanings[answer.Code]
	if !known {
		means = statusMeanings[answer.StatusCode]
	}
	return s.explainAnswer(means, answer, name)
}

func (s *s3) explainAnswer(means meaning, answer minio.ErrorResponse, name string) error {
	said := cmp.Or(s.quote(strings.Trim(answer.Code+": "+answer.Message, ": ")), http.StatusText(answer.StatusCode))
	bucket := s.location.Bucket
	switch means {
	case changed:
		return source.Changing(name)
	case missingBucket:
		return failure.New(v1alpha1.ReasonSourceMissing, "%s has no bucket %s: correct storage.s3.bucket or storage.s3.endpoint", s.name, bucket)
	case archived:
		return failure.New(v1alpha1.ReasonSourceUnreadable, "%q is archived: restore it and wait, then retry: aws s3api restore-object --bucket %s --key %q --restore-request Days=7", shown(name), bucket, shown(s.location.Prefix+"/"+name))
	case denied:
		return failure.New(v1alpha1.ReasonSourceUnauthorized, "%s denied access to the bucket %s (%s): grant s3:ListBucket on the bucket and s3:GetObject below the prefix to these credentials: %s", s.name, bucket, said, s.keys.account())
	case unknownKey:
		return failure.New(v1alpha1.ReasonSourceUnauthorized, "%s rejects the credentials (%s); credentials: %s", s.name, said, s.keys.account())
	case expired:
		return s.explainExpired(said)
	case limited:
		return s.limited(said)
	case otherRegion:
		if answer.Region != "" {
			return failure.New(v1alpha1.ReasonSourceMissing, "the bucket %s is in the region %s: set storage.s3.region to it", bucket, s.quote(answer.Region))
		}
		return failure.New(v1alpha1.ReasonSourceMissing, "the bucket %s is in another region or at another endpoint (%s): set storage.s3.region and storage.s3.endpoint", bucket, said)
	default:
		return s.refused(answer.StatusCode, said)
	}
}

// explainExpired returns the failure of expired credentials. If there may be others, the
// next request uses them.
func (s *s3) explainExpired(said string) error {
	f := failure.New(v1alpha1.ReasonSourceUnauthorized, "the credentials for %s have expired (%s); credentials: %s", s.name, said, s.keys.account())
	if s.keys.renew() {
		s.options.Creds.Expire()
		f.Transient = true
	}
	return f
}
