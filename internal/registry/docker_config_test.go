package registry

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/clouds"
)

// useDockerConfig writes the configuration for Kaniko, and has Docker's rules use it.
func useDockerConfig(t *testing.T, c Credentials, target string, others ...string) (content string) {
	t.Helper()
	repositories := make([]name.Repository, 0, 1+len(others))
	for _, image := range append([]string{target}, others...) {
		repository, err := name.NewRepository(image)
		require.NoError(t, err)
		repositories = append(repositories, repository)
	}
	raw, err := c.DockerConfig(t.Context(), "modelkiln", repositories[0], repositories[1:]...)
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
	for _, target := range slices.Sorted(maps.Keys(images)) {
		t.Run(target, func(t *testing.T) {
			c := credentialsWithKeys(t, "*.example.com", "reg.example.com:5000/models", "docker.io/team", "unused.example.org")
			others := slices.DeleteFunc(slices.Sorted(maps.Keys(images)), func(image string) bool { return image == target })
			assert.NotContains(t, useDockerConfig(t, c, target, others...), "unused.example.org", "only what a program needs")
			for image, want := range images {
				repository, err := name.NewRepository(image)
				require.NoError(t, err)
				assert.Equal(t, want, passwordFor(t, c, image))
				assert.Equal(t, want, dockerPassword(t, repository), image)
				if image == target {
					// Some versions of Kaniko look for the registry alone.
					assert.Equal(t, want, dockerPassword(t, repository.Registry))
				}
			}
		})
	}
}

// Two accounts for one registry do not get mixed up.
func TestCredentialsDockerConfigWithTwoAccounts(t *testing.T) {
	c := credentialsWithKeys(t, "quay.io/team-a", "quay.io/team-b")
	useDockerConfig(t, c, "quay.io/team-b/resnet", "quay.io/team-a/base")
	for image, want := range map[string]string{"quay.io/team-a/base": "quay.io/team-a", "quay.io/team-b/resnet": "quay.io/team-b"} {
		repository, err := name.NewRepository(image)
		require.NoError(t, err)
		assert.Equal(t, want, dockerPassword(t, repository))
		assert.Equal(t, "quay.io/team-b", dockerPassword(t, repository.Registry))
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
	secret := fmt.Sprintf(`{"auths": {"%s/models": {"auth": "YW5uOnNlY3JldA=="}}}`, ecrHost)
	helper := fmt.Sprintf(`{"auths": {}, "credHelpers": {%q: "modelkiln"}}`, ecrHost)

	t.Run("of the target", func(t *testing.T) {
		c := withIdentity(t, Credentials{}).Credentials
		assert.JSONEq(t, helper, useDockerConfig(t, c, ecrHost+"/models/resnet", ecrHost+"/base"))
	})
	t.Run("of the base image", func(t *testing.T) {
		c := withIdentity(t, credentialsWithKeys(t, "reg.example.com")).Credentials
		got := useDockerConfig(t, c, "reg.example.com/models/resnet", ecrHost+"/base")
		assert.Contains(t, got, fmt.Sprintf(`"credHelpers":{%q:"modelkiln"}`, ecrHost))
		for _, token := range amazon.Issued() {
			assert.NotContains(t, got, token, "it may have expired when it is needed")
		}
	})
	t.Run("of the target, with a secret for the base image", func(t *testing.T) {
		c := withIdentity(t, credentialsFor(t, secret)).Credentials
		got := useDockerConfig(t, c, ecrHost+"/other/resnet", ecrHost+"/models/base")
		assert.Contains(t, got, fmt.Sprintf(`"credHelpers":{%q:"modelkiln"}`, ecrHost))
		base, err := name.NewRepository(ecrHost + "/models/base")
		require.NoError(t, err)
		assert.Equal(t, "secret", dockerPassword(t, base))
	})
	t.Run("of the base image, with a secret for the target in the same registry", func(t *testing.T) {
		c := withIdentity(t, credentialsFor(t, secret)).Credentials
		got := useDockerConfig(t, c, ecrHost+"/models/resnet", ecrHost+"/base")
		assert.NotContains(t, got, "credHelpers")
		base, err := name.NewRepository(ecrHost + "/base")
		require.NoError(t, err)
		assert.Equal(t, "secret", dockerPassword(t, base.Registry))
		assert.Contains(t, amazon.Issued(), dockerPassword(t, base))
		assert.Contains(t, c.Secrets(), dockerPassword(t, base))
	})
	t.Run("refused", func(t *testing.T) {
		amazon.Session.Refuse(clouds.AccessDenied)
		c := withIdentity(t, Credentials{}).Credentials
		assert.NotContains(t, useDockerConfig(t, c, "reg.example.com/models/resnet", "public.ecr.aws/busybox"), "credHelpers")
	})
	t.Run("not available", func(t *testing.T) {
		amazon.Session.Refuse(func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) })
		c := withIdentity(t, Credentials{}).Credentials
		target, err := name.NewRepository(ecrHost + "/models/resnet")
		require.NoError(t, err)
		_, err = c.DockerConfig(t.Context(), "modelkiln", target)
		assertKind(t, Unreachable, err, "the build cannot log in to the registry "+ecrHost+": AWS issued no token")
		assert.NotContains(t, useDockerConfig(t, c, "reg.example.com/models/resnet", ecrHost+"/base"), "credHelpers")
	})
}
