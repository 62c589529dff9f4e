package registry

import (
	"context"
	"encoding/json"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// noCredentials is an entry with which a registry is accessed anonymously: the
// library sends nothing without a password. Without an entry, programs such as Kaniko
// look for other credentials, also for hosts whose names only contain that of a
// registry of a cloud.
var noCredentials = authn.AuthConfig{Username: "anonymous"}

// DockerConfig returns a Docker configuration file for programs that match
// credentials with Docker's rules, which know neither globs nor path prefixes. It
// contains the credentials of each repository under the repository's full name,
// where such programs look first, and those of target also under its host, where
// some programs look only.
//
// For registries to which the identity of the service account logs in, it names the
// credential helper, since the program may need the credentials after they have
// expired. The error is an *Error.
func (c Credentials) DockerConfig(ctx context.Context, helper string, target name.Repository, others ...name.Repository) ([]byte, error) {
	config := dockerConfig{Auths: map[string]authn.AuthConfig{}, CredHelpers: map[string]string{}}
	_, byIdentity, err := c.Identity(ctx, target)
	if err != nil {
		return nil, err
	}
	if byIdentity {
		config.CredHelpers[target.RegistryStr()] = helper
	} else {
		auth := c.entry(target)
		config.Auths[target.Name()], config.Auths[dockerKey(target)] = auth, auth
	}
	for _, other := range others {
		c.addOther(ctx, config, helper, target, other)
	}
	return json.Marshal(config)
}

// addOther adds the credentials of a repository that is not the target. It may be
// public, so that an identity without credentials does not matter.
func (c Credentials) addOther(ctx context.Context, config dockerConfig, helper string, target, other name.Repository) {
	credential, byIdentity, err := c.Identity(ctx, other)
	switch {
	case err != nil || !byIdentity:
		config.Auths[other.Name()] = c.entry(other)
	case other.RegistryStr() == target.RegistryStr() && config.CredHelpers[target.RegistryStr()] == "":
		// A helper is for a whole host, and would be used for the target too.
		config.Auths[other.Name()] = credential.AuthConfig
	default:
		config.CredHelpers[other.RegistryStr()] = helper
	}
}

// entry returns the entry for a repository.
func (c Credentials) entry(repository name.Repository) authn.AuthConfig {
	if auth, found := c.keyring.lookup(repository); found {
		return auth
	}
	return noCredentials
}

// dockerKey returns the key of a repository's registry.
func dockerKey(repository name.Repository) string {
	if repository.RegistryStr() == name.DefaultRegistry {
		return authn.DefaultAuthKey
	}
	return repository.RegistryStr()
}
