package registry

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/clouds"
)

// useDockerConfig writes the configuration for Kaniko, and has Docker's rules use it.
func useDockerConfig(t *testing.T, c Credentials, image string) (content string) {
	t.Helper()
	repository, err := name.NewRepository(image)
	require.NoError(t, err)
	raw, err := c.DockerConfig(t.Context(), repository)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600))
	t.Setenv("DOCKER_CONFIG", dir)
	return string(raw)
}

// dockerPassword returns what programs with Docker's rules find.
func dockerPassword(t *testing.T, target authn.Resource) string {
	t.Helper()
	auth, err := authn.DefaultKeychain.Resolve(target)
	require.NoError(t, err)
	assert.NotEqual(t, authn.Anonymous, auth, "the program would look for credentials elsewhere")
	config, err := auth.Authorization()
	require.NoError(t, err)
	return config.Password
}

// Docker's rules find in the file what the kubelet's rules find in the secret.
func TestCredentialsDockerConfig(t *testing.T) {
	images := map[string]string{
		"base.example.com/busybox":           "*.example.com",
		"reg.example.com:5000/models/resnet": "reg.example.com:5000/models",
		"team/base":                          "docker.io/team",
		"reg.example.org/models/resnet":      "",
	}
	for image, want := range images {
		t.Run(image, func(t *testing.T) {
			c := credentialsWithKeys(t, "*.example.com", "reg.example.com:5000/models", "docker.io/team", "unused.example.org")
			assert.NotContains(t, useDockerConfig(t, c, image), "unused.example.org", "only what a program needs")
			repository, err := name.NewRepository(image)
			require.NoError(t, err)
			assert.Equal(t, want, passwordFor(t, c, image))
			assert.Equal(t, want, dockerPassword(t, repository))
			// Some versions of Kaniko look for the registry alone.
			assert.Equal(t, want, dockerPassword(t, repository.Registry))
		})
	}
}

// An entry without a password is used, and nothing is sent.
func TestCredentialsDockerConfigAnonymous(t *testing.T) {
	sent := "nothing was requested"
	host := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent = r.Header.Get("Authorization") }))
	useDockerConfig(t, Credentials{}, host+"/models/resnet")
	tag, err := name.NewTag(host+"/models/resnet:v1", name.Insecure)
	require.NoError(t, err)
	auth, err := authn.DefaultKeychain.Resolve(tag.Repository)
	require.NoError(t, err)
	assert.NotEqual(t, authn.Anonymous, auth)
	r, err := Config{PlainHTTP: []string{host}}.Open(t.Context(), tag.Repository, Pull)
	require.NoError(t, err)
	_, _ = r.Fetch(t.Context(), tag)
	assert.Empty(t, sent)
}

func TestCredentialsDockerConfigByIdentity(t *testing.T) {
	amazon := clouds.StartAmazon(t)
	amazon.ProjectRole(t)
	base, err := name.NewRepository(ecrHost + "/base")
	require.NoError(t, err)
	t.Run("without a secret", func(t *testing.T) {
		c := withIdentity(t, Credentials{}).Credentials
		useDockerConfig(t, c, base.Name())
		assert.Contains(t, amazon.Issued(), dockerPassword(t, base))
		assert.Contains(t, c.Secrets(), dockerPassword(t, base))
	})
	t.Run("with a secret", func(t *testing.T) {
		c := withIdentity(t, credentialsFor(t, fmt.Sprintf(`{"auths": {"%s/base": {"auth": "YW5uOnNlY3JldA=="}}}`, ecrHost))).Credentials
		useDockerConfig(t, c, base.Name())
		assert.Equal(t, "secret", dockerPassword(t, base))
	})
	t.Run("refused", func(t *testing.T) {
		amazon.Session.Refuse(clouds.AccessDenied)
		useDockerConfig(t, withIdentity(t, Credentials{}).Credentials, "public.ecr.aws/busybox")
		public, err := name.NewRepository("public.ecr.aws/busybox")
		require.NoError(t, err)
		assert.Empty(t, dockerPassword(t, public), "the image may be public")
	})
}
