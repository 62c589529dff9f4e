package kaniko

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// credentialsDir is the directory, shared by the steps, in which Kaniko looks for
// credentials during a build.
const credentialsDir = "docker-config"

// writeCredentials writes the Docker configuration file in which Kaniko looks for the
// credentials to pull the base image, and returns its directory. Kaniko matches the
// entries of such a file with Docker's rules and not with the kubelet's, so the push
// secret itself might not work.
func writeCredentials(ctx context.Context, in Input) (string, error) {
	raw := []byte("{}")
	if !in.Base.IsScratch() {
		base, err := in.Registry.Reference(in.Base.Variants[0].Reference)
		if err != nil {
			return "", fmt.Errorf("find the base image's repository: %w", err)
		}
		if raw, err = in.Registry.Credentials.DockerConfig(ctx, base.Context()); err != nil {
			return "", fmt.Errorf("encode the credentials for Kaniko: %w", err)
		}
	}
	dir := in.Shared.Path(credentialsDir)
	// A build that was killed leaves it behind.
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("write the credentials for Kaniko: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("write the credentials for Kaniko: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600); err != nil {
		return "", fmt.Errorf("write the credentials for Kaniko: %w", err)
	}
	return dir, nil
}
