package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/pflag"

	"github.com/modelkiln/modelkiln/internal/registry"
)

// registryAccess is how a command accesses registries: with the credentials that docker
// login has stored, and their helpers.
type registryAccess struct {
	plainHTTP []string
	caFile    string
	// host replaces that of the images of ModelVersions.
	host string
	// auths are credentials beside those of docker login, by repository.
	auths map[string]authn.AuthConfig
}

// define adds the flags of commands that read the images of ModelVersions.
func (a *registryAccess) define(flags *pflag.FlagSet) {
	a.defineAny(flags)
	flags.StringVar(&a.host, "registry-host", "", "the `host`, with its port, by which the registry is known here, if images have a name that is known in the cluster only")
}

// defineAny adds the flags of all commands that access registries.
func (a *registryAccess) defineAny(flags *pflag.FlagSet) {
	flags.StringSliceVar(&a.plainHTTP, "plain-http", nil, "registry `hosts`, with ports, that are accessed over plain HTTP; those of the loopback interface are in any case")
	flags.StringVar(&a.caFile, "registry-ca", "", "a `file` with the certificates of private authorities, in PEM")
}

// config returns the access to the registries of some images, which may be empty or
// scratch. The error is about an image that is not a reference.
func (a registryAccess) config(images ...string) (registry.Config, error) {
	config := registry.Config{PlainHTTP: slices.Clone(a.plainHTTP), CAFile: a.caFile}
	auths := map[string]authn.AuthConfig{}
	maps.Copy(auths, a.auths)
	for _, image := range images {
		if image == "" || image == scratch {
			continue
		}
		ref, err := config.Reference(image)
		if err != nil {
			return config, err
		}
		repository := ref.Context()
		if isLoopback(repository.RegistryStr()) {
			config.PlainHTTP = append(config.PlainHTTP, repository.RegistryStr())
		}
		credentials, err := dockerLogin(repository)
		if err != nil {
			return config, err
		}
		if credentials != (authn.AuthConfig{}) {
			auths[repository.Name()] = credentials
		}
	}
	raw, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		return config, err
	}
	config.Credentials, err = registry.ParseCredentials(raw, "your Docker configuration")
	return config, err
}

// dockerLogin returns the credentials for a repository, or none.
func dockerLogin(repository name.Repository) (authn.AuthConfig, error) {
	found, err := authn.DefaultKeychain.Resolve(repository)
	if err != nil {
		// The error can quote what a credential helper printed.
		return authn.AuthConfig{}, fmt.Errorf("the credentials for %s in your Docker configuration cannot be read: run docker login %s again", repository.RegistryStr(), repository.RegistryStr())
	}
	config, err := found.Authorization()
	if err != nil {
		return authn.AuthConfig{}, fmt.Errorf("the credentials for %s in your Docker configuration cannot be used: run docker login %s again", repository.RegistryStr(), repository.RegistryStr())
	}
	return *config, nil
}

// isLoopback reports whether a registry runs on this machine.
func isLoopback(host string) bool {
	hostname, _, err := net.SplitHostPort(host)
	if err != nil {
		hostname = host
	}
	return hostname == "localhost" || net.ParseIP(hostname).IsLoopback()
}

// credentialTarget returns what credentials are looked up for: a repository, or a
// registry.
func credentialTarget(text string) (authn.Resource, error) {
	var target authn.Resource
	var err error
	if host, path, found := strings.Cut(text, "/"); found && path != "" && host != "" {
		target, err = name.NewRepository(text)
	} else {
		target, err = name.NewRegistry(text, name.StrictValidation)
	}
	if err != nil || strings.Contains(text, "://") {
		return nil, fmt.Errorf("%q is not a registry or repository: write it as registry.example.com/models", text)
	}
	return target, nil
}
