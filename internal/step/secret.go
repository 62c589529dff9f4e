package step

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
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
		return config, failure.New(v1alpha1.ReasonPushSecretMissing, "%s of type kubernetes.io/dockerconfigjson does not exist in this namespace: create it with %s", f.account(), createSecretCommand(f.pushSecret))
	default:
		console.Logf(log, "%s does not exist: the push is anonymous", f.account())
	}
	return config, nil
}

// invalidSecret returns the failure of a push secret that cannot be used.
func invalidSecret(name string, err error) error {
	return failure.New(v1alpha1.ReasonPushSecretMissing, "%v: create it with %s", err, createSecretCommand(name)).WithCause(errors.Unwrap(err))
}

func createSecretCommand(name string) string {
	if name == "" {
		name = "NAME"
	}
	return fmt.Sprintf("kubectl create secret docker-registry %s --docker-server=HOST --docker-username=USER --docker-password=PASSWORD", name)
}
