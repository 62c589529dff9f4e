package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/modelkiln/modelkiln/internal/registry/identity"
)

// Credentials are the content of a push secret, which is a Docker configuration
// file, and for registries of clouds that it has no entry for, the identity of the
// service account. The zero value holds none.
//
// They are matched with the kubelet's rules, so that a secret that works as an
// image pull secret works here: see keyring.
type Credentials struct {
	source   string
	config   dockerConfig
	keyring  keyring
	identity *identity.Identity
}

type dockerConfig struct {
	Auths       map[string]dockerAuth `json:"auths"`
	CredsStore  string                `json:"credsStore,omitempty"`
	CredHelpers map[string]string     `json:"credHelpers,omitempty"`
}

// dockerAuth is an entry of a Docker configuration. One that cannot be used does not
// prevent the use of the others.
type dockerAuth struct {
	authn.AuthConfig
	// problem is why it cannot be used, as the predicate of a sentence, or empty. It
	// contains nothing of the entry.
	problem string
}

// UnmarshalJSON decodes an entry.
func (a *dockerAuth) UnmarshalJSON(raw []byte) error {
	hasControl := func(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
	err := json.Unmarshal(raw, &a.AuthConfig)
	switch {
	case err != nil:
		a.problem = `is malformed: its field auth must be the base64 encoding of "USER:PASSWORD"`
	// HTTP does not allow them: RFC 7617, section 2, and RFC 9110, section 5.5.
	case slices.ContainsFunc([]string{a.Username, a.Password, a.IdentityToken, a.RegistryToken}, hasControl):
		a.problem = "has a line break or another control character in its user name, password or token, for example since it was encoded with echo instead of printf"
	}
	return nil
}

var _ authn.Keychain = keychain{}

// ReadCredentials reads a Docker configuration file. If the file does not exist,
// the error is fs.ErrNotExist. source names the credentials in messages, as in
// "Secret regcred"; the file's content is never part of an error.
func ReadCredentials(file, source string) (Credentials, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return Credentials{}, fmt.Errorf("read the credentials of %s: %w", source, err)
	}
	return ParseCredentials(raw, source)
}

// ParseCredentials is like ReadCredentials for the content of such a file.
func ParseCredentials(raw []byte, source string) (Credentials, error) {
	c := Credentials{source: source}
	if err := json.Unmarshal(raw, &c.config); err != nil {
		return Credentials{}, fmt.Errorf("%s does not contain a Docker configuration", source)
	}
	if c.config.CredsStore != "" && identity.RegistriesOfHelper(c.config.CredsStore) == "" {
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

// Resolve returns the credentials for a repository or registry. Those of an
// identity are renewed by the authenticator when they expire.
func (c Credentials) Resolve(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	if entry, found := c.keyring.lookup(target); found {
		if entry.auth.problem != "" {
			return nil, fmt.Errorf("the entry for %s in %s %s: create the Secret again with kubectl create secret docker-registry", entry.name(), c.source, entry.auth.problem)
		}
		return authn.FromConfig(entry.auth.AuthConfig), nil
	}
	host := target.RegistryStr()
	if err := c.checkHelper(host); err != nil {
		return nil, err
	}
	return c.identity.Authenticator(ctx, host), nil
}

// checkHelper returns an error if a credential helper is named for a host that is not
// that of the cloud to which the host belongs.
func (c Credentials) checkHelper(host string) error {
	helper, named := c.config.CredHelpers[host]
	if !named {
		return nil
	}
	switch registries := identity.RegistriesOfHelper(helper); registries {
	case "":
		return fmt.Errorf("%s names the credential helper %q for %s and contains no credentials: add a username and a password", c.source, helper, host)
	case identity.Registries(host):
		return nil
	default:
		return fmt.Errorf("%s names the credential helper %q for %s, which is not a registry of %s: add a username and a password", c.source, helper, host, registries)
	}
}

// keychain passes credentials to the library, whose interface has no context.
type keychain struct {
	ctx         context.Context
	credentials Credentials
}

func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.credentials.Resolve(k.ctx, target)
}

// Has reports whether there are credentials for a repository or registry.
func (c Credentials) Has(target authn.Resource) bool {
	_, found := c.keyring.lookup(target)
	return found
}

// Account returns a description of the credentials that are used for a repository,
// for messages. If there are none although an identity could have some, or if an
// identity has some, it says what to do about it.
func (c Credentials) Account(target authn.Resource) string {
	if c.Has(target) {
		return c.source
	}
	host := target.RegistryStr()
	if account, role := c.identity.Account(host); account != "" {
		return fmt.Sprintf("%s, which needs %s to push", account, role)
	}
	problem := c.identity.Problem(host)
	switch {
	case c.source == "" && problem == nil:
		return "none (the push Secret does not exist)"
	case c.source == "":
		return fmt.Sprintf("none (the push Secret does not exist; %s)", problem.Message)
	case problem == nil:
		return fmt.Sprintf("none (%s has no entry for %s)", c.source, host)
	default:
		return fmt.Sprintf("none (%s has no entry for it; %s)", c.source, problem.Message)
	}
}

// lacksTransiently reports whether there are no credentials for a repository because
// a token service did not respond.
func (c Credentials) lacksTransiently(target authn.Resource) bool {
	problem := c.identity.Problem(target.RegistryStr())
	return !c.Has(target) && problem != nil && problem.Transient
}

// Secrets returns every string that must not appear in a log, with the tokens that
// were obtained until now. A longer one comes before those that are a part of it: its
// end would remain if they were replaced first.
func (c Credentials) Secrets() []string {
	secrets := c.identity.Secrets()
	for _, a := range c.config.Auths {
		for _, secret := range []string{a.Password, a.Auth, a.IdentityToken, a.RegistryToken} {
			if secret != "" {
				secrets = append(secrets, secret)
			}
		}
	}
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(secrets)
}

// redact replaces the secrets in a text.
func (c Credentials) redact(message string) string {
	for _, secret := range c.Secrets() {
		message = strings.ReplaceAll(message, secret, "***")
	}
	return message
}
