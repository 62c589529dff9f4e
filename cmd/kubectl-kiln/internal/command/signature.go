package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// publicKeyField is the field of a Secret with a key of cosign that has the public key.
const publicKeyField = "cosign.pub"

// keyring are the public keys with which a command verifies signatures: those of files,
// or else that of the Secret which has signed.
type keyring struct {
	*cluster
	files []string
	keys  []sign.PublicKey
	// secrets are the Secrets that were read.
	secrets map[types.NamespacedName]secretKey
}

// secretKey is the public key in a Secret, or why there is none.
type secretKey struct {
	key sign.PublicKey
	err error
}

// define adds the flag for files.
func (r *keyring) define(flags *pflag.FlagSet) {
	flags.StringArrayVar(&r.files, "key", nil, "a `file` with a public key, such as cosign.pub, to verify signatures with; by default, the public key in the Secret that has signed, if you may read it. It can be repeated")
}

// open reads the files.
func (r *keyring) open(c *cluster) error {
	r.cluster, r.secrets = c, map[types.NamespacedName]secretKey{}
	for _, name := range r.files {
		content, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("the public key cannot be read: %s", quote(err))
		}
		key, err := sign.ParsePublicKey(content)
		if err != nil {
			return fmt.Errorf("the public key in %s %w: name a file such as cosign.pub, which cosign generate-key-pair writes", name, err)
		}
		r.keys = append(r.keys, key)
	}
	return nil
}

// signature is what is known about the signature of a ModelVersion's image.
type signature struct {
	signed bool
	// keyID identifies the key that has signed, according to the status.
	keyID string
	// keys says with which keys the signature was verified, and noKey why with none.
	keys  string
	noKey error
	// invalid is why the signature does not verify, as the end of a sentence about it.
	invalid error
}

// signatureOf verifies the signature in the status of a ModelVersion as the webhook does
// when a pod is created.
func (r *keyring) signatureOf(ctx context.Context, mv *v1alpha1.ModelVersion) signature {
	status := mv.Status.Signature
	if status == nil || status.Bundle == "" {
		return signature{}
	}
	s := signature{signed: true, keyID: visible(status.KeyID), keys: "the key in " + strings.Join(r.files, ", ")}
	keys := r.keys
	if len(keys) == 0 {
		name := types.NamespacedName{Namespace: mv.Namespace, Name: cmp.Or(status.SecretName, contract.DefaultSigningSecret)}
		found := r.inSecret(ctx, name)
		if found.err != nil {
			s.noKey = found.err
			return s
		}
		keys, s.keys = []sign.PublicKey{found.key}, "the key in Secret "+name.String()
	}
	s.invalid = sign.VerifyImage([]byte(status.Bundle), mv.Status.Digest, keys)
	return s
}

// inSecret returns the public key of a Secret, which is read once.
func (r *keyring) inSecret(ctx context.Context, name types.NamespacedName) secretKey {
	found, read := r.secrets[name]
	if !read {
		found.key, found.err = r.readSecret(ctx, name)
		r.secrets[name] = found
	}
	return found
}

func (r *keyring) readSecret(ctx context.Context, name types.NamespacedName) (sign.PublicKey, error) {
	secret := &corev1.Secret{}
	err := r.Get(ctx, name, secret)
	switch {
	case apierrors.IsForbidden(err):
		return sign.PublicKey{}, fmt.Errorf("you have no permission to read Secret %s", name)
	case apierrors.IsNotFound(err):
		return sign.PublicKey{}, fmt.Errorf("the Secret %s does not exist", name)
	case err != nil:
		return sign.PublicKey{}, errors.New(quote(err))
	case len(secret.Data[publicKeyField]) == 0:
		return sign.PublicKey{}, fmt.Errorf("the Secret %s has no %s", name, publicKeyField)
	}
	key, err := sign.ParsePublicKey(secret.Data[publicKeyField])
	if err != nil {
		return key, fmt.Errorf("%s in Secret %s %w", publicKeyField, name, err)
	}
	return key, nil
}

// cell returns the signature in a few words.
func (s signature) cell() string {
	switch {
	case !s.signed:
		return "no"
	case s.noKey != nil:
		return fmt.Sprintf("with key %s, not verified (--key %s): %v", s.keyID, publicKeyField, s.noKey)
	case s.invalid != nil:
		return fmt.Sprintf("NOT VALID with %s: %v", s.keys, s.invalid)
	default:
		return "verified with " + s.keys
	}
}

// result returns the signature as a check. A signature is missing if the user has named
// a key for it.
func (s signature) result(mv *v1alpha1.ModelVersion, named bool) result {
	retry := fmt.Sprintf("kubectl kiln retry %s -n %s", mv.Name, mv.Namespace)
	switch {
	case !s.signed && named:
		return result{bad, "the image is not signed", "to sign it, create a Secret with a key, and run: " + retry}
	case !s.signed:
		return result{verdict: unknown, what: "the image is not signed"}
	case s.noKey != nil:
		return result{unknown, fmt.Sprintf("the image is signed with key %s, and the signature was not verified: %v", s.keyID, s.noKey), "name the public key: --key " + publicKeyField}
	case s.invalid != nil:
		return result{bad, fmt.Sprintf("the signature is not valid with %s: %v", s.keys, s.invalid), fmt.Sprintf("according to the status, the key %s has signed; to sign again, run: %s", s.keyID, retry)}
	default:
		return result{verdict: good, what: "the signature is valid with " + s.keys}
	}
}
