package sign_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/sign"
)

func TestParseKey(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, ed25519Key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	sec1, err := x509.MarshalECPrivateKey(p256)
	require.NoError(t, err)
	encryptedKey, err := encrypted.Encrypt(pkcs8(t, p256), []byte("secret"))
	require.NoError(t, err)
	emptyPassword, err := encrypted.Encrypt(pkcs8(t, p256), nil)
	require.NoError(t, err)
	expensive := bytes.Replace(encryptedKey, []byte(`"N":65536`), []byte(`"N":1073741824`), 1)
	require.NotEqual(t, encryptedKey, expensive)

	tests := map[string]struct {
		text, password []byte
		want           string
	}{
		"PKCS #8":                             {text: inPEM("PRIVATE KEY", pkcs8(t, p256))},
		"PKCS #8 with a password for nothing": {text: inPEM("PRIVATE KEY", pkcs8(t, p256)), password: []byte("secret")},
		"of cosign":                           {text: inPEM("ENCRYPTED SIGSTORE PRIVATE KEY", encryptedKey), password: []byte("secret")},
		"of an earlier cosign":                {text: inPEM("ENCRYPTED COSIGN PRIVATE KEY", encryptedKey), password: []byte("secret")},
		"with an empty password":              {text: inPEM("ENCRYPTED SIGSTORE PRIVATE KEY", emptyPassword), password: []byte{}},
		"encrypted, without a password":       {text: inPEM("ENCRYPTED SIGSTORE PRIVATE KEY", encryptedKey), want: "is encrypted, and there is no cosign.password for it"},
		"encrypted, with another password":    {text: inPEM("ENCRYPTED SIGSTORE PRIVATE KEY", encryptedKey), password: []byte("other"), want: "cannot be decrypted with cosign.password"},
		"encrypted, to take all memory":       {text: inPEM("ENCRYPTED SIGSTORE PRIVATE KEY", expensive), password: []byte("secret"), want: "cannot be decrypted with cosign.password"},
		"encrypted, and damaged":              {text: inPEM("ENCRYPTED SIGSTORE PRIVATE KEY", []byte("{")), password: []byte("secret"), want: "cannot be decrypted with cosign.password"},
		"no PEM":                              {text: []byte("secret"), want: "is not in PEM format"},
		"nothing":                             {want: "is not in PEM format"},
		"a public key":                        {text: readKey(t, "key.pem").Public().PEM(), want: `has the PEM type "PUBLIC KEY" instead of "PRIVATE KEY"`},
		"SEC 1":                               {text: inPEM("EC PRIVATE KEY", sec1), want: `has the PEM type "EC PRIVATE KEY" instead of "PRIVATE KEY"`},
		"damaged PKCS #8":                     {text: inPEM("PRIVATE KEY", []byte("x")), want: "is not in the format PKCS #8"},
		"on another curve":                    {text: inPEM("PRIVATE KEY", pkcs8(t, p384)), want: "is not an ECDSA key on the curve P-256"},
		"RSA":                                 {text: inPEM("PRIVATE KEY", pkcs8(t, rsaKey)), want: "is not an ECDSA key on the curve P-256"},
		"Ed25519":                             {text: inPEM("PRIVATE KEY", pkcs8(t, ed25519Key)), want: "is not an ECDSA key on the curve P-256"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			key, err := sign.ParseKey(tt.text, tt.password)
			if tt.want != "" {
				require.ErrorContains(t, err, tt.want)
				return
			}
			require.NoError(t, err)
			bundle, err := key.SignImage(image)
			require.NoError(t, err)
			assert.NoError(t, sign.VerifyImage(bundle, image.Digest, []sign.PublicKey{key.Public()}))
		})
	}
}

func TestParsePublicKey(t *testing.T) {
	want := readKey(t, "key.pem").Public()
	got, err := sign.ParsePublicKey(want.PEM())
	require.NoError(t, err)
	assert.Equal(t, want.ID(), got.ID())
	assert.Regexp(t, "^sha256:[0-9a-f]{64}$", got.ID())

	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&p384.PublicKey)
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		text []byte
		want string
	}{
		"no PEM":              {[]byte("key"), "is not in PEM format"},
		"two keys":            {append(want.PEM(), readKey(t, "other.pem").Public().PEM()...), "is one of several in the text: give each key by itself"},
		"after a damaged one": {append([]byte("-----BEGIN PUBLIC KEY-----\nx\n"), want.PEM()...), "is one of several in the text"},
		"a private key":       {inPEM("PRIVATE KEY", nil), "is not in PEM format"},
		"damaged":             {inPEM("PUBLIC KEY", []byte("x")), "cannot be parsed"},
		"on another curve":    {inPEM("PUBLIC KEY", der), "is not an ECDSA key on the curve P-256"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sign.ParsePublicKey(tt.text)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func FuzzParseKey(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "key.pem"))
	require.NoError(f, err)
	for _, seed := range [][]byte{text, nil, readKey(f, "key.pem").Public().PEM(), inPEM("ENCRYPTED SIGSTORE PRIVATE KEY", []byte(`{"kdf":{"name":"scrypt"}}`))} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := sign.ParseKey(text, []byte("password"))
		assert.Equal(t, err == nil, key != nil)
	})
}
