package manager

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	certutil "k8s.io/client-go/util/cert"
)

func TestWebhookClients(t *testing.T) {
	dir := t.TempDir()
	authority, _, err := certutil.GenerateSelfSignedCertKey("kube-apiserver", nil, nil)
	require.NoError(t, err)
	valid, invalid := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	require.NoError(t, os.WriteFile(valid, authority, 0o600))
	require.NoError(t, os.WriteFile(invalid, []byte("nonsense"), 0o600))
	for name, tt := range map[string]struct {
		file, client string
		required     bool
		want         string
	}{
		"every client":          {"", "", false, ""},
		"any name":              {valid, "", true, ""},
		"one name":              {valid, "kube-apiserver", true, ""},
		"a name without a file": {"", "kube-apiserver", false, "--webhook-client-name requires --webhook-client-ca-file"},
		"a missing file":        {filepath.Join(dir, "none"), "", false, "read --webhook-client-ca-file"},
		"a file without PEM":    {invalid, "", false, "contains no certificate in PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			clients, err := webhookClients(Options{WebhookClientCAFile: tt.file, WebhookClientName: tt.client})
			if tt.want != "" {
				require.ErrorContains(t, err, tt.want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.required, clients != nil)
		})
	}
}

func TestOnce(t *testing.T) {
	calls, fails := 0, errors.New("not started")
	check := once(func(*http.Request) error {
		calls++
		return fails
	})
	require.ErrorIs(t, check(nil), fails)
	fails = nil
	require.NoError(t, check(nil))
	require.NoError(t, check(nil))
	assert.Equal(t, 2, calls)
}
