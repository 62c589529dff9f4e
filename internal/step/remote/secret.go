package remote

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// readSecret returns the value of the first key that a mounted Secret has, without white
// space around it, or "" if it has none of them, or dir is empty.
func readSecret(dir string, keys ...string) (string, error) {
	if dir == "" {
		return "", nil
	}
	for _, key := range keys {
		value, err := os.ReadFile(filepath.Join(dir, key))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", failure.New(v1alpha1.ReasonSourceUnauthorized, "the build cannot read the key %s of the Secret for the model's storage: mount it readable for all users", key).WithCause(err)
		}
		return strings.TrimSpace(string(value)), nil
	}
	return "", nil
}
