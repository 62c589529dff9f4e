package command

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

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
