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
// contains the credentials of one repository under the repository's full name, where
// such programs look first, and under its host, where some programs look only.
//
// Those of the identity of the service account are valid for as long as their cloud
// issues them: an hour or more. A repository for which there are none may be public.
func (c Credentials) DockerConfig(ctx context.Context, repository name.Repository) ([]byte, error) {
	auth := c.entry(repository)
	if credential, found, err := c.Identity(ctx, repository); err == nil && found {
		auth = credential.AuthConfig
	}
	return json.Marshal(map[string]any{"auths": map[string]authn.AuthConfig{repository.Name(): auth, dockerKey(repository): auth}})
}

// entry returns the entry for a repository.
func (c Credentials) entry(repository name.Repository) authn.AuthConfig {
	if entry, found := c.keyring.lookup(repository); found && entry.auth.problem == "" {
		return entry.auth.AuthConfig
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
