package sign

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// statementType is the type of in-toto's statements.
const statementType = "https://in-toto.io/Statement/v1"

// SignPredicate is the type of the statement by which cosign signs an image since version
// 3 (cmd/cosign/cli/sign/sign.go in github.com/sigstore/cosign).
const SignPredicate = "https://sigstore.dev/cosign/sign/v1"

// statement says something about a subject.
type statement struct {
	header
	Predicate any `json:"predicate"`
}

// header is what all statements have.
type header struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
}

// subject is what a statement is about.
type subject struct {
	Name string `json:"name,omitempty"`
	// Digest are digests in hexadecimal by algorithm.
	Digest map[string]string `json:"digest"`
	// Annotations are further facts, as those of cosign sign --annotations.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Image is an image that is signed.
type Image struct {
	// Repository is the repository, as in registry.example.com/models/resnet.
	Repository string
	// Digest is the digest of the image or index, "sha256:…".
	Digest string
	// List is the SHA-256, in hexadecimal, of the list of files in the image, which has
	// the SHA-256 of each; empty if it has no such list.
	List string
}

// ListAnnotation is the annotation of the image, in its signature, with the digest of its
// list of files, "sha256:…".
const ListAnnotation = "model.kubedl.io/files"

func (i Image) statement(predicateType string, predicate any) statement {
	return newStatement(subject{Name: i.Repository, Digest: map[string]string{"sha256": strings.TrimPrefix(i.Digest, "sha256:")}}, predicateType, predicate)
}

func newStatement(about subject, predicateType string, predicate any) statement {
	return statement{header{Type: statementType, Subject: []subject{about}, PredicateType: predicateType}, predicate}
}

// isAbout reports whether a statement has one subject, the image with a digest.
func (h header) isAbout(digest string) bool {
	return len(h.Subject) == 1 && digest != "" && "sha256:"+h.Subject[0].Digest["sha256"] == digest
}

// SignImage returns the bundle that signs an image as cosign does since version 3.
func (k *Key) SignImage(image Image) ([]byte, error) {
	s := image.statement(SignPredicate, struct{}{})
	if image.List != "" {
		s.Subject[0].Annotations = map[string]string{ListAnnotation: "sha256:" + image.List}
	}
	return k.signStatement(s, k.public.hint())
}

// SimpleSignature is the signature of an image that admission controllers of before
// cosign 3 read: a layer of the image at the tag sha256-….sig
// (specs/SIGNATURE_SPEC.md in github.com/sigstore/cosign).
type SimpleSignature struct {
	// Payload is what is signed.
	Payload []byte
	// Signature is in base64.
	Signature string
}

// SimplePayloadType is the media type of the payload of a SimpleSignature, and
// SimpleAnnotation is the annotation of the layer with the signature.
const (
	SimplePayloadType = "application/vnd.dev.cosign.simplesigning.v1+json"
	SimpleAnnotation  = "dev.cosignproject.cosign/signature"
)

// simplePayload is in the format of
// https://github.com/containers/image/blob/main/docs/containers-signature.5.md.
type simplePayload struct {
	Critical struct {
		Identity struct {
			DockerReference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			DockerManifestDigest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	// Optional is always null.
	Optional *struct{} `json:"optional"`
}

// SignSimple signs an image for readers of SimpleSignature.
func (k *Key) SignSimple(image Image) (SimpleSignature, error) {
	payload := simplePayload{}
	payload.Critical.Identity.DockerReference = image.Repository
	payload.Critical.Image.DockerManifestDigest = image.Digest
	payload.Critical.Type = "cosign container image signature"
	text, err := encode(payload)
	if err != nil {
		return SimpleSignature{}, err
	}
	sig, err := k.sign(sha256.Sum256(text))
	return SimpleSignature{Payload: text, Signature: base64.StdEncoding.EncodeToString(sig)}, err
}
