package kaniko

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// credentialsDir is the directory, shared by the steps, in which Kaniko looks for
// credentials during a build.
const credentialsDir = "docker-config"

// writeCredentials writes the Docker configuration file in which Kaniko looks for
// credentials, and beside it this program as a credential helper, and returns their
// directory. Kaniko matches the entries of such a file with Docker's rules and not
// with the kubelet's, so the push secret itself might not work.
func writeCredentials(ctx context.Context, in Input) (string, error) {
	repositories, err := in.repositories()
	if err != nil {
		return "", err
	}
	raw, err := in.Registry.Credentials.DockerConfig(ctx, helper, repositories[0], repositories[1:]...)
	if err != nil {
		return "", failure.OfRegistry(err)
	}
	dir := in.Shared.Path(credentialsDir)
	// A build that was killed leaves it behind.
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("write the credentials for Kaniko: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("write the credentials for Kaniko: %w", err)
	}
	if err := os.Symlink(in.Shared.Program(), filepath.Join(dir, helperProgram)); err != nil {
		return "", fmt.Errorf("install the credential helper for Kaniko: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600); err != nil {
		return "", fmt.Errorf("write the credentials for Kaniko: %w", err)
	}
	return dir, nil
}
