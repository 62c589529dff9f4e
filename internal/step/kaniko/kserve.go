package step

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// kserveFolder is where KServe looks for a model in an image.
const kserveFolder = "models"

// linkForKServe makes a link to the model where KServe looks for it. KServe
// reads it from another container, below the root folder of a process, so that the
// link is relative. What a base image has there stays: that may be what it runs.
func linkForKServe(image *os.Root, plan layer.Plan, out io.Writer) error {
	_, err := image.Lstat(kserveFolder)
	if err == nil {
		say(out, "the base image has something at /%s, which stays: KServe finds that, and not the model", kserveFolder)
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at the base image: %w", err)
	}
	return makeLink(image, kserveFolder, layer.Entry{Link: modelFolder, ModTime: newestIn(plan)})
}
