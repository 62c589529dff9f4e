package sign

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
)

// BundleType is the media type of Sigstore's bundles.
const BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// payloadType is the type of statements in envelopes.
const payloadType = "application/vnd.in-toto+json"

// bundle is a bundle of Sigstore with an envelope. It has no certificate and no entry of
// a log: the key is known.
type bundle struct {
	MediaType            string `json:"mediaType"`
	VerificationMaterial struct {
		PublicKey struct {
			Hint string `json:"hint"`
		} `json:"publicKey"`
	} `json:"verificationMaterial"`
	Envelope envelope `json:"dsseEnvelope"`
}

// envelope is an envelope of DSSE. Bytes are in base64.
type envelope struct {
	Payload     []byte      `json:"payload"`
	PayloadType string      `json:"payloadType"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	Sig []byte `json:"sig"`
}

// signStatement returns the bundle of a statement.
func (k *Key) signStatement(s statement, hint string) ([]byte, error) {
	payload, err := encode(s)
	if err != nil {
		return nil, err
	}
	sig, err := k.sign(preAuthDigest(payload))
	if err != nil {
		return nil, err
	}
	b := bundle{MediaType: BundleType, Envelope: envelope{Payload: []byte{}, PayloadType: payloadType, Signatures: []signature{{sig}}}}
	b.VerificationMaterial.PublicKey.Hint = hint
	text, err := encode(b)
	if err != nil {
		return nil, err
	}
	return withPayload(text, payload), nil
}

// withPayload returns a bundle that has none with its payload. The statement about the
// files of a large model has a hundred megabytes, of which the encoder makes several copies.
func withPayload(text, payload []byte) []byte {
	before, after, _ := bytes.Cut(text, []byte(emptyPayload))
	const open = len(emptyPayload) - len(`"`)
	whole := make([]byte, 0, len(text)+base64.StdEncoding.EncodedLen(len(payload)))
	whole = append(append(whole, before...), emptyPayload[:open]...)
	whole = base64.StdEncoding.AppendEncode(whole, payload)
	return append(append(whole, emptyPayload[open:]...), after...)
}

// emptyPayload is the field of an envelope without a payload.
const emptyPayload = `"payload":""`

// preAuthDigest returns the SHA-256 of what an envelope's signature signs
// (https://github.com/secure-systems-lab/dsse/blob/master/protocol.md).
func preAuthDigest(payload []byte) (sum [sha256.Size]byte) {
	message := sha256.New()
	_, _ = fmt.Fprintf(message, "DSSEv1 %d %s %d ", len(payloadType), payloadType, len(payload))
	_, _ = message.Write(payload)
	message.Sum(sum[:0])
	return sum
}

// encode returns a value as JSON. Characters of HTML are not escaped: a payload with them
// would be longer, and look like another one.
func encode(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("encode a signature: %w", err)
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}

// MaxBundle is the largest number of bytes that are read of a bundle. One that signs an
// image has less than one kilobyte, one with the provenance of a build at most 200 patterns
// more, and one with that of a training about 32 KiB of facts.
const MaxBundle = 256 << 10

// Errors of bundles, as the end of a sentence about the signature.
var (
	errTooLarge   = fmt.Errorf("it has more than %d bytes", MaxBundle)
	errNoBundle   = errors.New("it is not a bundle of Sigstore with an in-toto statement")
	errOtherKey   = errors.New("it was not made with one of these keys, or was changed")
	errOtherType  = errors.New("it is a statement of another type")
	errOtherImage = errors.New("it is that of another image")
	errNoDigest   = fmt.Errorf("its annotation %s is not a digest", ListAnnotation)
	errOtherBuild = errors.New("it attests something else than how the image was built")
)

var digestPattern = regexp.MustCompile(`\Asha256:[0-9a-f]{64}\z`)

// VerifyImage returns nil if a bundle is the signature of the image with a digest,
// "sha256:…", by one of the keys. Attestations of the image are no signatures of it. The
// error is a clause about the signature.
func VerifyImage(text []byte, digest string, keys []PublicKey) error {
	_, err := verify(text, SignPredicate, digest, keys)
	return err
}

// ListDigest returns what the signature of the image with a digest says of the image's list
// of files: its digest, "sha256:…", or "" if it says nothing. It does not verify the
// signature, which VerifyImage does.
func ListDigest(text []byte, digest string) (string, error) {
	b, err := decode(text)
	if err != nil {
		return "", err
	}
	s, err := b.statement()
	switch {
	case err != nil:
		return "", err
	case s.PredicateType != SignPredicate:
		return "", errOtherType
	case !s.isAbout(digest):
		return "", errOtherImage
	}
	list := s.Subject[0].Annotations[ListAnnotation]
	if list != "" && !digestPattern.MatchString(list) {
		return "", errNoDigest
	}
	return list, nil
}

// VerifyProvenance returns nil if a bundle attests how the image with a digest was built,
// by the key. The provenance of a training has the same type, and does not attest that.
func VerifyProvenance(text []byte, digest string, key PublicKey) error {
	s, err := verify(text, ProvenancePredicate, digest, []PublicKey{key})
	if err != nil {
		return err
	}
	var predicate struct {
		BuildDefinition struct {
			BuildType string `json:"buildType"`
		} `json:"buildDefinition"`
	}
	if err := json.Unmarshal(s.Predicate, &predicate); err != nil || predicate.BuildDefinition.BuildType != BuildType {
		return errOtherBuild
	}
	return nil
}

// signedStatement is a statement that a key has signed.
type signedStatement struct {
	header
	Predicate json.RawMessage `json:"predicate"`
}

func verify(text []byte, predicateType, digest string, keys []PublicKey) (signedStatement, error) {
	s, err := open(text, keys)
	switch {
	case err != nil:
	case s.PredicateType != predicateType:
		err = errOtherType
	case !s.isAbout(digest):
		err = errOtherImage
	}
	return s, err
}

// open returns the statement in a bundle if one of the keys has signed it. It is not
// decoded before.
func open(text []byte, keys []PublicKey) (s signedStatement, err error) {
	b, err := decode(text)
	if err != nil {
		return s, err
	}
	sum := preAuthDigest(b.Envelope.Payload)
	for _, key := range keys {
		if key.verify(sum, b.Envelope.Signatures[0].Sig) {
			return b.statement()
		}
	}
	return s, errOtherKey
}

// decode returns a bundle with one signature.
func decode(text []byte) (b bundle, err error) {
	if len(text) > MaxBundle {
		return b, errTooLarge
	}
	if err := json.Unmarshal(text, &b); err != nil || b.MediaType != BundleType || b.Envelope.PayloadType != payloadType || len(b.Envelope.Signatures) != 1 {
		return b, errNoBundle
	}
	return b, nil
}

// statement decodes the statement in the bundle.
func (b bundle) statement() (s signedStatement, err error) {
	if err := json.Unmarshal(b.Envelope.Payload, &s); err != nil || s.Type != statementType {
		return s, errNoBundle
	}
	return s, nil
}
