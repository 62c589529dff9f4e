package registries

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

// tokenService is a token service as companies run beside distribution: it gives
// the one user tokens that it signs.
type tokenService struct {
	key  *ecdsa.PrivateKey
	cert []byte
}

// startTokenService starts a token service that serves HTTPS, and returns the
// configuration of a registry that trusts it.
func startTokenService(t *testing.T, certificate tls.Certificate) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tokens"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	bundle := filepath.Join(t.TempDir(), "tokens.pem")
	require.NoError(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))

	_, port, err := net.SplitHostPort(proxy.Serve(t, localhost, tokenService{key: key, cert: cert}, certificate))
	require.NoError(t, err)
	// Clients do not send passwords to a token service that has an address for a name.
	return fmt.Sprintf(`auth: {token: {realm: "https://localhost:%s/token", service: registry, issuer: tokens, rootcertbundle: %q}}`, port, bundle)
}

func (s tokenService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != registryUser || password != registryPassword {
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]}`, http.StatusUnauthorized)
		return
	}
	const life = time.Minute
	now := time.Now()
	token, err := s.sign(map[string]any{
		"iss": "tokens", "sub": registryUser, "aud": "registry", "jti": rand.Text(),
		"nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(), "exp": now.Add(life).Unix(),
		"access": scopes(r),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": int(life.Seconds())})
}

// scopes grants what a request asks for, in scopes such as repository:a/b:pull,push.
func scopes(r *http.Request) []map[string]any {
	granted := []map[string]any{}
	for _, scope := range r.URL.Query()["scope"] {
		if parts := strings.Split(scope, ":"); len(parts) == 3 {
			granted = append(granted, map[string]any{"type": parts[0], "name": parts[1], "actions": strings.Split(parts[2], ",")})
		}
	}
	return granted
}

// sign returns a JSON Web Token.
func (s tokenService) sign(claims map[string]any) (string, error) {
	encode := func(v any) string {
		raw, _ := json.Marshal(v) // Maps of strings and numbers.
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := encode(map[string]any{"alg": "ES256", "typ": "JWT", "x5c": []string{base64.StdEncoding.EncodeToString(s.cert)}}) + "." + encode(claims)
	sum := sha256.Sum256([]byte(text))
	a, b, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return "", err
	}
	const size = 32
	signature := append(a.FillBytes(make([]byte, size)), b.FillBytes(make([]byte, size))...)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
