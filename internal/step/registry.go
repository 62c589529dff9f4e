package step

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// registryFlags are the flags of the steps that talk to registries.
type registryFlags struct {
	image            string
	plainHTTP        []string
	pushSecret       string
	pushSecretFolder string
	registryCAFile   string
}

func (f *registryFlags) defineRegistry(flags *flag.FlagSet) {
	flags.StringVar(&f.image, "image", "", "the image to push, repository and tag")
	flags.Func("plain-http", "registry `hosts` that are spoken to in plain HTTP, separated by commas", list(&f.plainHTTP))
	flags.StringVar(&f.pushSecret, "push-secret", "", "the `name` of the Secret with the push credentials, for messages")
	flags.StringVar(&f.pushSecretFolder, "push-secret-folder", "/push-secret", "the `folder` with the push secret's config.json, if there is one")
	flags.StringVar(&f.registryCAFile, "registry-ca", "/registry-ca/ca.crt", "the `file` with private certificate authorities, if there is one")
}

// credentialsFile is where the push secret's content is, if there is one.
func (f *registryFlags) credentialsFile() string {
	return filepath.Join(f.pushSecretFolder, "config.json")
}

// account is how messages call the credentials.
func (f *registryFlags) account() string {
	if f.pushSecret == "" {
		return "the push secret"
	}
	return "Secret " + f.pushSecret
}

// config reads the credentials, if there are any.
func (f *registryFlags) config() (registry.Config, error) {
	credentials, err := registry.ReadOptionalCredentials(f.credentialsFile(), f.account())
	if err != nil {
		return registry.Config{}, unusableSecret(f.pushSecret, err)
	}
	return registry.Config{
		PlainHTTP:   f.plainHTTP,
		CAFile:      f.registryCAFile,
		Credentials: credentials,
	}, nil
}

// unusableSecret says what to do about a push secret.
func unusableSecret(name string, why error) error {
	return failure.New(v1alpha1.ReasonPushSecretMissing, "%v: make it with %s", why, secretCommand(name)).Because(errors.Unwrap(why))
}

// secretCommand is the command that makes a push secret.
func secretCommand(name string) string {
	if name == "" {
		name = "NAME"
	}
	return fmt.Sprintf("kubectl create secret docker-registry %s --docker-server=HOST --docker-username=USER --docker-password=PASSWORD", name)
}

// ofRegistry returns an error of a registry as a failure. Not to find
// something is none that the registry itself can judge.
func ofRegistry(err error) error {
	var e *registry.Error
	if !errors.As(err, &e) {
		return err
	}
	reason := v1alpha1.ReasonRegistryUnreachable
	switch e.Kind {
	case registry.Unauthorized:
		reason = v1alpha1.ReasonRegistryUnauthorized
	case registry.Untrusted:
		reason = v1alpha1.ReasonRegistryUntrusted
	case registry.QuotaExceeded:
		reason = v1alpha1.ReasonRegistryFull
	case registry.Unreachable, registry.NotFound:
	}
	why := failure.New(reason, "%s", e.Message).Because(e.Cause)
	why.Transient = e.Transient
	return why
}
