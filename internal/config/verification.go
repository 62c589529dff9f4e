package config

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/sign"
)

// Verification is how the signatures of models that pods serve are verified.
type Verification struct {
	// Serving is what happens to a pod whose model has no valid signature: Off, Warn or
	// Require. Off if empty.
	Serving inject.VerificationMode `json:"serving,omitempty"`
	// Keys are the public keys by which a signature may have been made.
	Keys []VerificationKey `json:"keys,omitempty"`
}

// VerificationKey is a public key.
type VerificationKey struct {
	// Namespaces are those of the pods for which the key counts; "*" is all.
	Namespaces []string `json:"namespaces"`
	// PublicKey is an ECDSA key on the curve P-256 in PEM format, as in cosign.pub.
	PublicKey string `json:"publicKey"`
}

// unquotedOff is how YAML 1.1 reads Off without quotes.
const unquotedOff inject.VerificationMode = "false"

// Rules returns the rules by which signatures are verified.
func (v Verification) Rules() inject.Verification {
	rules := inject.Verification{Mode: v.Serving}
	if v.Serving == unquotedOff {
		rules.Mode = inject.VerificationOff
	}
	for _, key := range v.Keys {
		// A key that cannot be parsed is rejected when the configuration is loaded.
		if public, err := sign.ParsePublicKey([]byte(key.PublicKey)); err == nil {
			rules.Keys = append(rules.Keys, inject.VerificationKey{Namespaces: key.Namespaces, Key: public})
		}
	}
	return rules
}

func (v Verification) validate() error {
	var problems []error
	modes := []inject.VerificationMode{inject.VerificationOff, inject.VerificationWarn, inject.VerificationRequire}
	if v.Serving != "" && v.Serving != unquotedOff && !slices.Contains(modes, v.Serving) {
		problems = append(problems, fmt.Errorf("verification.serving %q is not supported: use one of %v", v.Serving, modes))
	}
	if v.Serving == inject.VerificationRequire && len(v.Keys) == 0 {
		problems = append(problems, errors.New("verification.serving is Require, and verification.keys is empty: no pod could serve a model, so add the public keys"))
	}
	for i, key := range v.Keys {
		if err := key.validate(); err != nil {
			problems = append(problems, fmt.Errorf("verification.keys[%d]: %w", i, err))
		}
	}
	return errors.Join(problems...)
}

func (k VerificationKey) validate() error {
	var problems []error
	if len(k.Namespaces) == 0 {
		problems = append(problems, errors.New("namespaces is empty: list the namespaces of the pods for which the key counts, or [\"*\"]"))
	}
	for _, name := range k.Namespaces {
		if name != inject.AllNamespaces && len(validation.IsDNS1123Label(name)) > 0 {
			problems = append(problems, fmt.Errorf("namespaces contains %q, which is not the name of a namespace", name))
		}
	}
	if _, err := sign.ParsePublicKey([]byte(k.PublicKey)); err != nil {
		problems = append(problems, fmt.Errorf("publicKey %w: use the content of cosign.pub", err))
	}
	return errors.Join(problems...)
}
