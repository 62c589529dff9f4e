package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Credentials are what a push secret holds: the content of a Docker
// configuration file. The zero value is none.
//
// They are looked up as Docker does it, and the image builder with it, so that
// what works here works there: by repository, by registry host, or by an
// address of an older form that names that host.
type Credentials struct {
	account string
	config  dockerConfig
}

type dockerConfig struct {
	Auths       map[string]authn.AuthConfig `json:"auths"`
	CredsStore  string                      `json:"credsStore"`
	CredHelpers map[string]string           `json:"credHelpers"`
}

var _ authn.Keychain = Credentials{}

// ReadCredentials reads a Docker configuration file. A file that does not
// exist is an error of fs.ErrNotExist. account is how messages call the
// credentials, as in "Secret regcred"; the content is never part of an error.
func ReadCredentials(file, account string) (Credentials, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return Credentials{}, fmt.Errorf("read the credentials of %s: %w", account, err)
	}
	c := Credentials{account: account}
	if err := json.Unmarshal(raw, &c.config); err != nil {
		return Credentials{}, fmt.Errorf("the content of %s is not a Docker configuration", account)
	}
	if c.config.CredsStore != "" {
		return Credentials{}, fmt.Errorf("%s holds no credentials, only the name of the helper %q that kept them on the machine where it was made", account, c.config.CredsStore)
	}
	return c, nil
}

// ReadCredentialsIfAny is ReadCredentials, except that a file that does not
// exist means no credentials.
func ReadCredentialsIfAny(file, account string) (Credentials, error) {
	c, err := ReadCredentials(file, account)
	if errors.Is(err, fs.ErrNotExist) {
		return Credentials{}, nil
	}
	return c, err
}

// Resolve returns the credentials for a repository or registry.
func (c Credentials) Resolve(target authn.Resource) (authn.Authenticator, error) {
	config, found := c.find(target)
	if !found {
		if helper, named := c.config.CredHelpers[target.RegistryStr()]; named {
			return nil, fmt.Errorf("%s names the helper %q for %s, and holds no credentials: put a user and a password in", c.account, helper, target.RegistryStr())
		}
		return authn.Anonymous, nil
	}
	return authn.FromConfig(config), nil
}

// Has says whether there are credentials for a repository or registry.
func (c Credentials) Has(target authn.Resource) bool {
	_, found := c.find(target)
	return found
}

// Account says in words by which credentials a repository is spoken to.
func (c Credentials) Account(target authn.Resource) string {
	if c.account == "" {
		return "anonymously, as there is no push secret"
	}
	if !c.Has(target) {
		return fmt.Sprintf("anonymously, as %s has no entry for %s", c.account, target.RegistryStr())
	}
	return "with " + c.account
}

// Secrets returns every string that must not be seen in a log.
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

func (c Credentials) find(target authn.Resource) (authn.AuthConfig, bool) {
	for _, address := range []string{target.String(), target.RegistryStr()} {
		if address == name.DefaultRegistry {
			address = authn.DefaultAuthKey
		}
		if config := c.at(address); config != (authn.AuthConfig{}) {
			return config, true
		}
	}
	return authn.AuthConfig{}, false
}

func (c Credentials) at(address string) authn.AuthConfig {
	if config, exact := c.config.Auths[address]; exact {
		return config
	}
	for _, key := range slices.Sorted(maps.Keys(c.config.Auths)) {
		if hostOf(key) == address {
			return c.config.Auths[key]
		}
	}
	return authn.AuthConfig{}
}

// hostOf returns the host of an address as older Docker configurations have
// it: https://registry.example.com/v1/.
func hostOf(address string) string {
	if _, rest, isURL := strings.Cut(address, "://"); isURL {
		address = rest
	}
	host, _, _ := strings.Cut(address, "/")
	return host
}
