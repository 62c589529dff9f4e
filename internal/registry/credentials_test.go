package registry

import (
	"encoding/base64"
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
	host := serve(t, withPassword(newRegistry()))
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

// An entry that cannot be used is reported when it is needed, and before anything is
// sent. It does not prevent the use of others.
func TestCredentialsResolveOfUnusableEntries(t *testing.T) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const malformed, control = `is malformed: its field auth must be the base64 encoding of "USER:PASSWORD"`, "has a line break or another control character in its user name, password or token"
	for title, tt := range map[string]struct{ entry, want string }{
		"auth with a line break":         {`{"auth": "` + encode("ann:secret\n") + `"}`, control},
		"user name with a line break":    {`{"username": "ann\n", "password": "secret"}`, control},
		"password with a line break":     {`{"username": "ann", "password": "secret\n"}`, control},
		"token with a control character": {`{"registrytoken": "secret\u0000"}`, control},
		"refresh token with a tab":       {`{"identitytoken": "\tsecret"}`, control},
		"auth without a colon":           {`{"auth": "` + encode("secret") + `"}`, malformed},
		"auth that is not base64":        {`{"auth": "ann:secret"}`, malformed},
		"password that is a number":      {`{"username": "ann", "password": 123456}`, malformed},
		"text":                           {`"secret"`, malformed},
	} {
		t.Run(title, func(t *testing.T) {
			c := credentialsFor(t, `{"auths": {"https://ann:secret@reg.example.com/v1/": `+tt.entry+`, "other.example.com": {"username": "u", "password": "p"}}}`)
			repository, err := name.NewRepository("reg.example.com/models/resnet")
			require.NoError(t, err)
			_, err = c.Resolve(t.Context(), repository)
			require.ErrorContains(t, err, "the entry for reg.example.com in Secret regcred "+tt.want)
			require.ErrorContains(t, err, "create the Secret again with kubectl create secret docker-registry")
			assert.NotContains(t, err.Error(), "secret\n")
			assert.NotContains(t, err.Error(), "ann:")
			_, err = Config{Credentials: c}.Open(t.Context(), repository, Push)
			assertKind(t, Unauthorized, err, "the entry for reg.example.com in Secret regcred")
			raw, err := c.DockerConfig(t.Context(), repository)
			require.NoError(t, err)
			assert.NotContains(t, string(raw), "secret", "Kaniko gets no entry that does not work")

			assert.Equal(t, "p", passwordFor(t, c, "other.example.com/models/resnet"))
		})
	}
}

// If the shorter one were replaced first, the end of the longer one would remain.
func TestCredentialsSecretsLongestFirst(t *testing.T) {
	c := credentialsFor(t, `{"auths": {"a": {"registrytoken": "pass"}, "b": {"registrytoken": "password-of-b"}, "c": {"registrytoken": "pass"}}}`)
	assert.Equal(t, []string{"password-of-b", "pass"}, c.Secrets())
	assert.Equal(t, "*** and ***", c.redact("password-of-b and pass"))
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
