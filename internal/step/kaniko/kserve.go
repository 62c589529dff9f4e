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

// linkForKServe creates a link to the model where KServe expects it. KServe reads
// it from another container, beneath the root directory of a process, so the link
// is relative. Files that the base image has there are kept, since its program may
// need them.
func linkForKServe(image *os.Root, modTime int64, log io.Writer) error {
	_, err := image.Lstat(layer.KServeDir)
	if err == nil {
		console.Logf(log, "the base image already has /%s, which is kept; KServe will serve that instead of the model", layer.KServeDir)
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("inspect the base image: %w", err)
	}
	return createLink(image, layer.KServeDir, layer.Entry{Link: layer.ModelDir, ModTime: modTime})
}
