package registries

import (
	"net"
	"os"
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
	tests := map[string]secretTest{
		"has the password":       {password: registryPassword, required: true},
		"has a wrong password":   {password: wrongPassword, required: true, reason: v1alpha1.ReasonRegistryUnauthorized},
		"is absent":              {reason: v1alpha1.ReasonRegistryUnauthorized},
		"is absent and required": {required: true, reason: v1alpha1.ReasonPushSecretMissing},
	}
	closed := map[string]func(t *testing.T) *target{
		"distribution 3, password":   withPassword("registry"),
		"distribution 3, token":      withTokens("registry"),
		"distribution 2.8, password": withPassword("distribution2"),
		"distribution 2.8, token":    withTokens("distribution2"),
	}
	for registry, start := range closed {
		t.Run(registry, func(t *testing.T) {
			t.Parallel()
			g := start(t)
			for name, tt := range tests {
				t.Run(name, func(t *testing.T) { testPushSecret(t, g, tt) })
			}
		})
	}
}

// secretTest is a build with or without the password of a registry.
type secretTest struct {
	password string
	required bool
	reason   string
}

func testPushSecret(t *testing.T, g *target, tt secretTest) {
	t.Helper()
	p := g.newPod(t)
	p.write(t, "config.json", "{}")
	p.pushSecretRequired = tt.required
	require.NoError(t, os.Remove(p.path("push-secret/config.json")))
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
