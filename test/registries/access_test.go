package registries

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

// The one user of a closed registry, and the file that htpasswd writes.
const (
	registryUser     = "kiln"
	registryPassword = "only-for-this-test"
	wrongPassword    = "not-the-password"
	registryUsers    = "kiln:$2a$04$c.DAH92w26Vqw1W0DlsViepbdXl8fxhxQthxquj52J4MzNJq6I1qy\n"
)

func TestPushSecret(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		password string
		required bool
		reason   string
	}{
		"has the password":       {password: registryPassword, required: true},
		"has a wrong password":   {password: wrongPassword, required: true, reason: v1alpha1.ReasonRegistryUnauthorized},
		"is absent":              {reason: v1alpha1.ReasonRegistryUnauthorized},
		"is absent and required": {required: true, reason: v1alpha1.ReasonPushSecretMissing},
	}
	users := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(users, []byte(registryUsers), 0o600))
	closed := startDistribution(t, fmt.Sprintf("auth: {htpasswd: {realm: models, path: %q}}", users))
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t, closed.host)
			p.write(t, "config.json", "{}")
			p.pushSecretRequired = tt.required
			if tt.password != "" {
				p.writePushSecret(t, tt.password)
			}

			left, logs := p.runAll(t)

			raw, err := os.ReadFile(p.path("kiln/report.json"))
			require.NoError(t, err)
			for _, password := range []string{registryPassword, wrongPassword} {
				assert.NotContains(t, logs, password)
				assert.NotContains(t, string(raw), password)
			}
			if tt.reason == "" {
				require.Nil(t, left.Failure, logs)
				assert.Equal(t, "regcred", left.Image.PullSecret)
				return
			}
			require.NotNil(t, left.Failure, logs)
			assert.Equal(t, contract.StepMountCheck, left.Failure.Step)
			assert.Equal(t, tt.reason, left.Failure.Reason, left.Failure.Message)
			assert.False(t, left.Failure.Transient)
		})
	}
}

func TestRegistryCA(t *testing.T) {
	t.Parallel()
	open := startOpen(t)
	server, authority := proxy.Certificate(t, net.ParseIP(localhost))
	behind := proxy.Start(t, localhost, open, proxy.None, server)
	p := newPod(t, behind.Host)
	p.encrypted = true
	p.write(t, "config.json", "{}")

	failure := p.fails(t, contract.StepMountCheck, v1alpha1.ReasonRegistryUntrusted)
	assert.Contains(t, failure.Message, behind.Host)

	require.NoError(t, os.WriteFile(p.path("registry-ca/ca.crt"), []byte(authority), 0o600))
	left, logs := p.runAll(t)
	require.Nil(t, left.Failure, logs)
	assert.Equal(t, left.Image.Digest, content.Digest(t, strings.Replace(p.image(), behind.Host, open, 1)))
}
