package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Signing is how images are signed.
type Signing struct {
	// Required is true if no build may succeed without a signature.
	Required bool `json:"required,omitempty"`
	// Formats are the formats in which the registry has the signature of an image: Bundle
	// and Tag. Both if empty.
	Formats []v1alpha1.SignatureFormat `json:"formats,omitempty"`
	// Attest is what is signed beside the image: Provenance and Files. Both if it is not
	// set, and nothing if it is empty.
	Attest []v1alpha1.Attestation `json:"attest,omitempty"`
	// BuilderID is a URI that names the platform in provenances, so that those of several
	// clusters differ. That of Modelkiln's project if empty.
	BuilderID string `json:"builderID,omitempty"`
}

// maxBuilderID is the number of characters that a builderID may have.
const maxBuilderID = 256

func (s Signing) validate() error {
	var problems []error
	for i, format := range s.Formats {
		if !slices.Contains([]v1alpha1.SignatureFormat{v1alpha1.BundleSignature, v1alpha1.TagSignature}, format) || slices.Contains(s.Formats[:i], format) {
			problems = append(problems, fmt.Errorf("signing.formats contains %q: use each of %s and %s at most once", format, v1alpha1.BundleSignature, v1alpha1.TagSignature))
		}
	}
	for i, attestation := range s.Attest {
		if !slices.Contains([]v1alpha1.Attestation{v1alpha1.ProvenanceAttestation, v1alpha1.FilesAttestation}, attestation) || slices.Contains(s.Attest[:i], attestation) {
			problems = append(problems, fmt.Errorf("signing.attest contains %q: use each of %s and %s at most once", attestation, v1alpha1.ProvenanceAttestation, v1alpha1.FilesAttestation))
		}
	}
	if id, err := url.Parse(s.BuilderID); s.BuilderID != "" && (err != nil || id.Scheme == "" || len(s.BuilderID) > maxBuilderID) {
		problems = append(problems, fmt.Errorf("signing.builderID %.100q is not a URI: use the form https://kiln.example.com/clusters/prod", s.BuilderID))
	}
	return errors.Join(problems...)
}
