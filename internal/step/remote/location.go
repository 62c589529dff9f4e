package remote

import (
	"cmp"
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// Location is where a model is stored. Exactly one field is set.
type Location struct {
	S3          *S3          `json:"s3,omitempty"`
	HuggingFace *HuggingFace `json:"huggingFace,omitempty"`
}

// S3 is a prefix of a bucket.
type S3 struct {
	// Endpoint is the URL of the server, without a path; that of Amazon S3 if empty.
	Endpoint string `json:"endpoint,omitempty"`
	// Region is the region of the bucket. If it is empty, List sets it when the server
	// reports another one than us-east-1.
	Region string `json:"region,omitempty"`
	Bucket string `json:"bucket"`
	// Prefix is what the keys of the model's objects begin with, without the slash that
	// follows. It is not empty.
	Prefix string `json:"prefix"`
}

// HuggingFace is a repository of a hub.
type HuggingFace struct {
	// Endpoint is the URL of the hub, without a path; that of Hugging Face if empty.
	Endpoint string `json:"endpoint,omitempty"`
	// Repo is the name of the repository, as in mistralai/Mistral-7B-v0.3.
	Repo string `json:"repo"`
	// Revision is a branch, a tag or a commit; main if empty. Open sets it to the commit.
	Revision string `json:"revision,omitempty"`
}

// Access is what a build needs to read a location.
type Access struct {
	// S3Rules and HFRules are the locations that may be read.
	S3Rules sourcepolicy.S3Rules
	HFRules sourcepolicy.HuggingFaceRules
	// SecretDir is the directory of a Secret, which need not exist. For S3 it has the
	// files AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary keys,
	// AWS_SESSION_TOKEN; for a hub it has token or HF_TOKEN.
	SecretDir string
	// CAFile is a PEM bundle of certificate authorities that are trusted in addition to
	// the system's. It need not exist.
	CAFile string
	// UserAgent is how requests describe the program; that of the library if empty.
	UserAgent string
	// delay and idle replace firstDelay and idleTimeout in tests.
	delay, idle time.Duration
}

// Open returns the files at a location. It resolves the revision of a repository once,
// and keeps the commit in the location, which later steps open. The error is a
// *failure.Error, or that of the context.
func Open(ctx context.Context, location *Location, access Access) (source.Files, error) {
	if location.HuggingFace != nil {
		return openHub(ctx, location.HuggingFace, access)
	}
	return openS3(ctx, location.S3, access)
}

// Source returns the address of the model for people and for labels of images:
// s3://models/llama for Amazon S3, https://minio.example.com/models/llama for other
// servers, or https://huggingface.co/org/name.
func (l *Location) Source() string {
	if l.HuggingFace != nil {
		return l.HuggingFace.endpoint() + "/" + l.HuggingFace.Repo
	}
	below := l.S3.Bucket + "/" + l.S3.Prefix
	if l.S3.endpoint() == sourcepolicy.DefaultS3Endpoint {
		return "s3://" + below
	}
	return l.S3.endpoint() + "/" + below
}

// Revision returns the commit of a repository that was opened, or "" for objects.
func (l *Location) Revision() string {
	if l.HuggingFace == nil {
		return ""
	}
	return l.HuggingFace.Revision
}

func (l *S3) endpoint() string {
	return strings.TrimSuffix(cmp.Or(l.Endpoint, sourcepolicy.DefaultS3Endpoint), "/")
}

func (l *HuggingFace) endpoint() string {
	return strings.TrimSuffix(cmp.Or(l.Endpoint, sourcepolicy.DefaultHuggingFaceEndpoint), "/")
}

// parseEndpoint parses an endpoint that a rule allows, without a default port, which
// requests do not name.
func parseEndpoint(endpoint string) (*url.URL, error) {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return nil, forbidden(err)
	}
	parsed.Host = strings.ToLower(parsed.Host)
	if port := parsed.Port(); parsed.Scheme == "https" && port == "443" || parsed.Scheme == "http" && port == "80" {
		parsed.Host = strings.TrimSuffix(parsed.Host, ":"+port)
	}
	return parsed, nil
}

// forbidden returns an error of a rule as a failure.
func forbidden(err error) error { return failure.New(v1alpha1.ReasonSourceForbidden, "%v", err) }
