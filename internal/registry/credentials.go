package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Credentials are the content of a push secret, which is a Docker configuration
// file. The zero value holds none.
//
// They are matched with the kubelet's rules, so that a secret that works as an
// image pull secret works here: see keyring.
type Credentials struct {
	source  string
	config  dockerConfig
	keyring keyring
}

type dockerConfig struct {
	Auths       map[string]authn.AuthConfig `json:"auths"`
	CredsStore  string                      `json:"credsStore,omitempty"`
	CredHelpers map[string]string           `json:"credHelpers,omitempty"`
}

var _ authn.Keychain = Credentials{}

// ReadCredentials reads a Docker configuration file. If the file does not exist,
// the error is fs.ErrNotExist. source names the credentials in messages, as in
// "Secret regcred"; the file's content is never part of an error.
func ReadCredentials(file, source string) (Credentials, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return Credentials{}, fmt.Errorf("read the credentials of %s: %w", source, err)
	}
	c := Credentials{source: source}
	if err := json.Unmarshal(raw, &c.config); err != nil {
		return Credentials{}, fmt.Errorf("%s does not contain a Docker configuration", source)
	}
	if c.config.CredsStore != "" {
		return Credentials{}, fmt.Errorf("%s contains no credentials, only the name of the credential helper %q of the machine where it was created", source, c.config.CredsStore)
	}
	c.keyring = newKeyring(c.config.Auths)
	return c, nil
}

// ReadOptionalCredentials is like ReadCredentials, but returns no credentials for
// a file that does not exist.
func ReadOptionalCredentials(file, source string) (Credentials, error) {
	c, err := ReadCredentials(file, source)
	if errors.Is(err, fs.ErrNotExist) {
		return Credentials{}, nil
	}
	return c, err
}

// Resolve returns the credentials for a repository or registry.
func (c Credentials) Resolve(target authn.Resource) (authn.Authenticator, error) {
	config, found := c.keyring.lookup(target)
	if !found {
		if helper, named := c.config.CredHelpers[target.RegistryStr()]; named {
			return nil, fmt.Errorf("%s names the credential helper %q for %s and contains no credentials: add a username and a password", c.source, helper, target.RegistryStr())
		}
		return authn.Anonymous, nil
	}
	return authn.FromConfig(config), nil
}

// Has reports whether there are credentials for a repository or registry.
func (c Credentials) Has(target authn.Resource) bool {
	_, found := c.keyring.lookup(target)
	return found
}

// Account returns a description of the credentials that are used for a repository,
// for messages.
func (c Credentials) Account(target authn.Resource) string {
	if c.source == "" {
		return "none (the push Secret does not exist)"
	}
	if !c.Has(target) {
		return fmt.Sprintf("none (%s has no entry for %s)", c.source, target.RegistryStr())
	}
	return c.source
}

// DockerConfig returns a Docker configuration file for programs that match
// credentials with Docker's rules, which know neither globs nor path prefixes. It
// contains the credentials of each repository under the repository's full name,
// where such programs look first.
func (c Credentials) DockerConfig(repositories ...name.Repository) ([]byte, error) {
	config := dockerConfig{Auths: map[string]authn.AuthConfig{}}
	for _, repository := range repositories {
		if auth, found := c.keyring.lookup(repository); found {
			config.Auths[repository.Name()] = auth
		}
	}
	return json.Marshal(config)
}

// Secrets returns every string that must not appear in a log.
func (c Credentials) Secrets() []string {
	var secrets []string
	for _, a := range c.config.Auths {
		for _, secret := range []string{a.Password, a.Auth, a.IdentityToken, a.RegistryToken} {
			if secret != "" {
				secrets = append(secrets, secret)
			}
		}
	}
	return secrets
}
