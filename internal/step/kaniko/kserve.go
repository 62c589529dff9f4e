package kaniko

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/console"
)

// kserveDir is where KServe expects the model in an image.
const kserveDir = "models"

// linkForKServe creates a link to the model where KServe expects it. KServe reads
// it from another container, beneath the root directory of a process, so the link
// is relative. Files that the base image has there are kept, since its program may
// need them.
func linkForKServe(image *os.Root, modTime int64, log io.Writer) error {
	_, err := image.Lstat(kserveDir)
	if err == nil {
		console.Logf(log, "the base image already has /%s, which is kept; KServe will serve that instead of the model", kserveDir)
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("inspect the base image: %w", err)
	}
	return createLink(image, kserveDir, layer.Entry{Link: layer.ModelDir, ModTime: modTime})
}
