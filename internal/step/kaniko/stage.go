package kaniko

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// stagingDir is the directory, in the image's root, that files are copied to
// before their layer is placed: from there to the model's directory is a rename.
// Kaniko ignores it.
const stagingDir = ".modelkiln-staging"

// stagedFile returns where an entry of a layer is copied to.
func stagedFile(layer, entry int) string {
	return path.Join(stagedLayer(layer), strconv.Itoa(entry))
}

func stagedLayer(number int) string { return path.Join(stagingDir, strconv.Itoa(number)) }

// stager copies the files of a layer to the staging directory.
type stager struct {
	files source.Files
	image *os.Root
	layer int
	// digests receives the SHA-256 of the files, by path.
	digests map[string]string
	// progress counts the bytes that were copied.
	progress io.Writer
}

// copy copies the files of a layer, with the metadata that they have in the
// image.
func (s stager) copy(ctx context.Context, entries []layer.Entry) error {
	if err := s.image.MkdirAll(stagedLayer(s.layer), 0o700); err != nil {
		return fmt.Errorf("create the staging directory: %w", err)
	}
	for number, e := range entries {
		if e.Type != layer.File {
			continue
		}
		if err := s.copyFile(ctx, stagedFile(s.layer, number), e); err != nil {
			return err
		}
	}
	return nil
}

func (s stager) copyFile(ctx context.Context, to string, e layer.Entry) error {
	file, err := s.image.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, e.Mode.Perm())
	if err != nil {
		return fmt.Errorf("create a file in the image: %w", err)
	}
	digest, err := source.Read(ctx, s.files, e, io.MultiWriter(file, s.progress))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	s.digests[e.Path] = digest
	return setMetadata(s.image, to, e)
}
