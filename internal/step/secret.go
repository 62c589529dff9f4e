package step

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/registry/identity"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// checkSecret reads the push credentials, and checks that they exist if they are
// required.
func (f *registryFlags) checkSecret(required bool, log io.Writer) (registry.Config, error) {
	config, err := f.config()
	if err != nil {
		return config, err
	}
	_, err = os.Stat(f.credentialsFile())
	switch {
	case err == nil:
		console.Logf(log, "using the push credentials of %s", f.account())
	case !errors.Is(err, fs.ErrNotExist):
		return config, fmt.Errorf("find the push credentials: %w", err)
	case required:
		return config, failure.New(v1alpha1.ReasonPushSecretMissing, "%s of type kubernetes.io/dockerconfigjson does not exist in this namespace: create it with %s", f.account(), f.createSecretCommand())
	default:
		console.Logf(log, "%s does not exist: the push is %s", f.account(), f.withoutSecret())
	}
	return config, nil
}

// withoutSecret returns how the build pushes if the push secret does not exist.
func (f *registryFlags) withoutSecret() string {
	if ref, err := name.ParseReference(f.image); err == nil {
		if registries := identity.Registries(ref.Context().RegistryStr()); registries != "" {
			return "by the identity of the service account " + contract.BuildServiceAccount + ", if it has one for " + registries
		}
	}
	return "anonymous"
}

// invalidSecret returns the failure of a push secret that cannot be used.
func (f *registryFlags) invalidSecret(err error) error {
	return failure.New(v1alpha1.ReasonPushSecretMissing, "%v: create it with %s", err, f.createSecretCommand()).WithCause(errors.Unwrap(err))
}

// createSecretCommand returns the command that creates the push secret. Docker Hub
// has another name there than in images.
func (f *registryFlags) createSecretCommand() string {
	host := "HOST"
	if ref, err := name.ParseReference(f.image); err == nil {
		host = ref.Context().RegistryStr()
	}
	if host == name.DefaultRegistry {
		host = "https://index.docker.io/v1/"
	}
	return fmt.Sprintf("kubectl create secret docker-registry %s --docker-server=%s --docker-username=USER --docker-password=PASSWORD", cmp.Or(f.pushSecret, "NAME"), host)
}
