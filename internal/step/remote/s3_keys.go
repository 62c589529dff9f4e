package remote

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry/identity"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// createKeys creates the Secret of an object store from a file with the keys.
const createKeys = "kubectl create secret generic NAME --from-env-file=FILE"

// keys are the credentials for an object store: those of a Secret, or for Amazon S3
// those of the identity of the service account, or none for a public bucket. They are a
// credentials.Provider. The identity of the node is not used.
type keys struct {
	credentials.Expiry
	// secretDir is the directory of the Secret.
	secretDir string
	// obtain obtains those of the identity, or is nil.
	obtain func() (identity.Keys, error)

	mu sync.Mutex
	// stored are those of the Secret.
	stored credentials.Value
	// owner describes whose they are.
	owner string
	// issued are those that were obtained or stored until now.
	issued []string
}

// newKeys returns the credentials for an endpoint.
func newKeys(ctx context.Context, endpoint *url.URL, region, secretDir string, transport *http.Transport) (*keys, error) {
	stored, err := readKeys(secretDir)
	if err != nil {
		return nil, err
	}
	k := &keys{secretDir: secretDir, stored: stored, owner: "none, since storage.s3.credentialsSecretName names no Secret that exists"}
	switch {
	case stored.AccessKeyID != "":
		k.owner = "those in the Secret in storage.s3.credentialsSecretName; replace it if they are wrong: " + createKeys
	case isAmazon(endpoint):
		// The function that obtains them is called without a context.
		k.obtain = func() (identity.Keys, error) { return identity.AmazonKeys(ctx, transport, region) }
	}
	return k, nil
}

// readKeys reads the credentials of a Secret, or none if it does not exist.
func readKeys(secretDir string) (credentials.Value, error) {
	stored := credentials.Value{SignerType: credentials.SignatureAnonymous}
	for key, value := range map[string]*string{
		"AWS_ACCESS_KEY_ID": &stored.AccessKeyID, "AWS_SECRET_ACCESS_KEY": &stored.SecretAccessKey, "AWS_SESSION_TOKEN": &stored.SessionToken,
	} {
		var err error
		if *value, err = readSecret(secretDir, key); err != nil {
			return stored, err
		}
	}
	if (stored.AccessKeyID == "") != (stored.SecretAccessKey == "") {
		return stored, failure.New(v1alpha1.ReasonSourceUnauthorized, "the Secret in storage.s3.credentialsSecretName has only one of the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: create it with %s", createKeys)
	}
	if stored.AccessKeyID != "" {
		stored.SignerType = credentials.SignatureV4
	}
	return stored, nil
}

// RetrieveWithCredContext returns the credentials.
func (k *keys) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

// Retrieve returns the credentials. The error is an *identity.Error.
func (k *keys) Retrieve() (credentials.Value, error) {
	k.SetExpiration(time.Now().Add(forever), 0)
	if k.obtain == nil {
		return k.ofSecret(), nil
	}
	obtained, err := k.obtain()
	var failed *identity.Error
	if errors.As(err, &failed) && failed.Absent {
		k.describe(failed.Message)
		return k.ofSecret(), nil
	}
	if err != nil {
		return credentials.Value{}, err
	}
	if !obtained.Expires.IsZero() {
		k.SetExpiration(obtained.Expires, credentials.DefaultExpiryWindow)
	}
	k.describe(obtained.Account, obtained.SecretAccessKey, obtained.SessionToken)
	return credentials.Value{
		AccessKeyID: obtained.AccessKeyID, SecretAccessKey: obtained.SecretAccessKey, SessionToken: obtained.SessionToken, SignerType: credentials.SignatureV4,
	}, nil
}

// forever is longer than a build.
const forever = 24 * time.Hour

func (k *keys) describe(owner string, issued ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.owner, k.issued = owner, append(k.issued, issued...)
}

// account describes whose credentials they are, for messages.
func (k *keys) account() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.owner
}

// secrets returns what must not appear in messages.
func (k *keys) secrets() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string{k.stored.SecretAccessKey, k.stored.SessionToken}, k.issued...)
}

// ofSecret returns the credentials of the Secret.
func (k *keys) ofSecret() credentials.Value {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stored
}

// renew reports whether there may be others than those that have expired: those of an
// identity are obtained again, and of a Secret that has changed, which kubelet updates in
// the pod, the new ones are used.
func (k *keys) renew() bool {
	if k.obtain != nil {
		return true
	}
	stored, err := readKeys(k.secretDir)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil || stored == k.stored {
		return false
	}
	k.issued = append(k.issued, k.stored.SecretAccessKey, k.stored.SessionToken)
	k.stored = stored
	return true
}
