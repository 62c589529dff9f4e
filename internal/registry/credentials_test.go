package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const dockerHubAccess = `{"auths": {"https://index.docker.io/v1/": {"username": "u", "password": "p"}}}`

func credentialsFor(t *testing.T, content string) Credentials {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	c, err := ReadCredentials(file, "Secret regcred")
	require.NoError(t, err)
	return c
}

func TestConfigOpenWithCredentials(t *testing.T) {
	host := serve(t, withPassword(newRegistry(), "ann", "secret"))
	good := fmt.Sprintf(`{"auths": {%q: {"auth": "YW5uOnNlY3JldA=="}}}`, host)
	bad := fmt.Sprintf(`{"auths": {%q: {"username": "ann", "password": "wrong"}}}`, host)
	tests := map[string]struct {
		creds Credentials
		want  string // empty: access granted
	}{
		"the right password":          {creds: credentialsFor(t, good)},
		"a wrong password":            {creds: credentialsFor(t, bad), want: "denied access to models/resnet (401 Unauthorized); credentials: Secret regcred"},
		"no credentials":              {want: "credentials: none (the push Secret does not exist)"},
		"no entry for this registry":  {creds: credentialsFor(t, dockerHubAccess), want: "credentials: none (Secret regcred has no entry for " + host + ")"},
		"only a credential helper":    {creds: credentialsFor(t, fmt.Sprintf(`{"credHelpers": {%q: "ecr-login"}}`, host)), want: `names the credential helper "ecr-login" for ` + host},
		"a URL of the host":           {creds: credentialsFor(t, fmt.Sprintf(`{"auths": {"http://%s/v1/": {"auth": "YW5uOnNlY3JldA=="}}}`, host))},
		"an entry for the repository": {creds: credentialsFor(t, fmt.Sprintf(`{"auths": {%q: {"auth": "YW5uOnNlY3JldA=="}, %q: {"auth": "eDp5"}}}`, host+"/models/resnet", host))},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, tag, err := open(t, Config{PlainHTTP: []string{host}, Credentials: tt.creds}, host+"/models/resnet:v1", Push)
			if err == nil {
				err = r.CheckPush(tag)
			}
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			assertKind(t, Unauthorized, err, tt.want)
			assert.NotContains(t, err.Error(), "wrong")
		})
	}
}

func TestReadCredentials(t *testing.T) {
	dir := t.TempDir()
	write := func(content string) string {
		file := filepath.Join(dir, "config.json")
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	_, err := ReadCredentials(filepath.Join(dir, "none"), "Secret regcred")
	require.ErrorIs(t, err, os.ErrNotExist)
	none, err := ReadOptionalCredentials(filepath.Join(dir, "none"), "Secret regcred")
	require.NoError(t, err)
	assert.Equal(t, Credentials{}, none)

	_, err = ReadOptionalCredentials(write("user:secret"), "Secret regcred")
	require.EqualError(t, err, "Secret regcred does not contain a Docker configuration")
	_, err = ReadCredentials(write(`{"auths": {"host": {}}, "credsStore": "desktop"}`), "Secret regcred")
	require.ErrorContains(t, err, `only the name of the credential helper "desktop"`)

	c, err := ReadCredentials(write(`{"auths": {
		"host": {"username": "u", "password": "pa\"ss"}, "other": {"identitytoken": "token1"}, "third": {"registrytoken": "token2"}}}`), "Secret regcred")
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{`pa"ss`, "dTpwYSJzcw==", "token1", "token2"}, c.Secrets())
}

func TestCredentialsResolveDockerHub(t *testing.T) {
	repository, err := name.NewRepository("busybox")
	require.NoError(t, err)
	got, err := credentialsFor(t, dockerHubAccess).Resolve(t.Context(), repository)
	require.NoError(t, err)
	config, err := got.Authorization()
	require.NoError(t, err)
	assert.Equal(t, "u", config.Username)

	got, err = Credentials{}.Resolve(t.Context(), repository)
	require.NoError(t, err)
	assert.Equal(t, authn.Anonymous, got)
}
