package sign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// Types of PEM blocks. cosign has encrypted keys of both of its types.
const (
	pemPKCS8     = "PRIVATE KEY"
	pemSigstore  = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemCosign    = "ENCRYPTED COSIGN PRIVATE KEY"
	pemPublicKey = "PUBLIC KEY"
	// pemBegin is how a block begins.
	pemBegin = "-----BEGIN "
)

// Errors of keys, as the end of a sentence about the key.
var (
	errNoPEM      = errors.New("is not in PEM format")
	errNoPassword = errors.New("is encrypted, and there is no cosign.password for it")
	errDecrypt    = errors.New("cannot be decrypted with cosign.password")
	errNotP256    = errors.New("is not an ECDSA key on the curve P-256")
	errSeveral    = errors.New("is one of several in the text: give each key by itself")
)

// Key is a private key.
type Key struct {
	private *ecdsa.PrivateKey
	public  PublicKey
}

// ParseKey parses a private key in PEM format: one that cosign has encrypted, which the
// password decrypts, or one in PKCS #8. A password of a key that is not encrypted is
// ignored. The error continues a sentence about the key, and does not contain it.
func ParseKey(text, password []byte) (*Key, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errNoPEM
	}
	der := block.Bytes
	switch block.Type {
	case pemPKCS8:
	case pemSigstore, pemCosign:
		if password == nil {
			return nil, errNoPassword
		}
		var err error
		if der, err = encrypted.Decrypt(block.Bytes, password); err != nil {
			return nil, errDecrypt
		}
	default:
		return nil, fmt.Errorf("has the PEM type %.40q instead of %q or %q", block.Type, pemPKCS8, pemSigstore)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("is not in the format PKCS #8")
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errNotP256
	}
	public, err := newPublicKey(&private.PublicKey)
	return &Key{private: private, public: public}, err
}

// Public returns the key by which signatures are verified.
func (k *Key) Public() PublicKey { return k.public }

// sign returns the signature of a message with a SHA-256: ECDSA, in ASN.1. Without a
// source of randomness, it is deterministic (RFC 6979).
func (k *Key) sign(sum [sha256.Size]byte) ([]byte, error) {
	signature, err := k.private.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return signature, nil
}

// PublicKey is a key by which signatures are verified.
type PublicKey struct {
	key *ecdsa.PublicKey
	der []byte
}

// ParsePublicKey parses an ECDSA key on the curve P-256 in PEM format, as cosign writes it
// to cosign.pub. A text with several keys is an error: all but one would be ignored in
// silence. The error continues a sentence about the key.
func ParsePublicKey(text []byte) (PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemPublicKey {
		return PublicKey{}, fmt.Errorf("is not in PEM format with the type %q", pemPublicKey)
	}
	if bytes.Count(text, []byte(pemBegin)) > 1 {
		return PublicKey{}, errSeveral
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, errors.New("cannot be parsed")
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return PublicKey{}, errNotP256
	}
	return newPublicKey(key)
}

func newPublicKey(key *ecdsa.PublicKey) (PublicKey, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("encode the public key: %w", err)
	}
	return PublicKey{key: key, der: der}, nil
}

// ID returns the SHA-256 of the key in DER, "sha256:…", by which people and statuses tell
// keys apart.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k.der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// PEM returns the key in PEM format.
func (k PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemPublicKey, Bytes: k.der})
}

// hint returns what a bundle calls the key. cosign writes the SHA-256 in DER, in base64,
// and accepts any.
func (k PublicKey) hint() string {
	sum := sha256.Sum256(k.der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// omsHint is the hint of a signature over files: the SHA-256 of the key in PEM, in
// hexadecimal. The verifier of OpenSSF Model Signing rejects others.
func (k PublicKey) omsHint() string {
	sum := sha256.Sum256(k.PEM())
	return hex.EncodeToString(sum[:])
}

// verify reports whether a signature is that of a message with a SHA-256.
func (k PublicKey) verify(sum [sha256.Size]byte, signature []byte) bool {
	return ecdsa.VerifyASN1(k.key, sum[:], signature)
}
