package inject

import (
	"fmt"
	"slices"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/sign"
)

// VerificationMode is what happens to a pod whose model has no valid signature.
type VerificationMode string

const (
	// VerificationOff verifies nothing.
	VerificationOff VerificationMode = "Off"
	// VerificationWarn admits the pod with a warning.
	VerificationWarn VerificationMode = "Warn"
	// VerificationRequire rejects the pod.
	VerificationRequire VerificationMode = "Require"
)

// AllNamespaces stands for every namespace in a VerificationKey.
const AllNamespaces = "*"

// Verification is how the signatures of models that pods serve are verified: against the
// platform's public keys, and without access to a registry or a Secret.
type Verification struct {
	Mode VerificationMode
	Keys []VerificationKey
}

// VerificationKey is a public key.
type VerificationKey struct {
	// Namespaces are those of the pods for which the key counts, or AllNamespaces.
	Namespaces []string
	Key        sign.PublicKey
}

// Problem returns why the signature of a ModelVersion's image, in its status, does not
// verify with any of the keys of its namespace, and what to do about that, in sentences;
// "" if it does, or if nothing is verified.
func (v Verification) Problem(mv *v1alpha1.ModelVersion) string {
	if v.Mode == VerificationOff || v.Mode == "" {
		return ""
	}
	var keys []sign.PublicKey
	for _, key := range v.Keys {
		if slices.Contains(key.Namespaces, mv.Namespace) || slices.Contains(key.Namespaces, AllNamespaces) {
			keys = append(keys, key.Key)
		}
	}
	if len(keys) == 0 {
		return fmt.Sprintf("the operator's configuration has no key for the namespace %s in verification.keys: ask the platform team to add one", mv.Namespace)
	}
	signature := mv.Status.Signature
	if signature == nil || signature.Bundle == "" {
		return notSigned(mv, ", ask the platform team to add its public key,")
	}
	if err := sign.VerifyImage([]byte(signature.Bundle), mv.Status.Digest, keys); err != nil {
		return fmt.Sprintf("the signature in its status is not valid in the namespace %s: %v. To sign the image again, with one of the keys in verification.keys: %s", mv.Namespace, err, lifecycle.RebuildCommand(mv))
	}
	return ""
}

// notSigned returns how an image that is not signed is signed. The key must be known to
// verify the signature.
func notSigned(mv *v1alpha1.ModelVersion, makeKnown string) string {
	return fmt.Sprintf("its image is not signed: create a Secret with a signing key, for example with cosign generate-key-pair k8s://%s/modelkiln-signing%s and sign the image with: %s", mv.Namespace, makeKnown, lifecycle.RebuildCommand(mv))
}

// ListDigest returns the digest of the list of files in a ModelVersion's image, which the
// signature in its status has, or why it has none and what to do about that, in sentences.
// Other than to serve a model, VerificationWarn does not suffice to verify its files without
// a valid signature. With VerificationOff, the signature is not verified.
func (v Verification) ListDigest(mv *v1alpha1.ModelVersion) (digest, problem string) {
	if problem := v.Problem(mv); problem != "" {
		return "", problem
	}
	signature := mv.Status.Signature
	if signature == nil || signature.Bundle == "" {
		return "", notSigned(mv, "")
	}
	digest, err := sign.ListDigest([]byte(signature.Bundle), mv.Status.Digest)
	switch {
	case err != nil:
		return "", fmt.Sprintf("the signature in its status is not valid: %v. To sign the image again: %s", err, lifecycle.RebuildCommand(mv))
	case digest == "":
		return "", fmt.Sprintf("its signature does not say which files the image has, because the image does not list their SHA-256 (spec.build.fileDigests: Skip), or because an earlier release has signed it. To sign the image again: %s", lifecycle.RebuildCommand(mv))
	}
	return digest, ""
}
