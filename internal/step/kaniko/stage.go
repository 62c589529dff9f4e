package step

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

// stagingFolder is where files are copied to before it is their layer's turn, in
// the image's root: from there to the model's folder is a rename. Kaniko is told
// to ignore it.
const stagingFolder = ".modelkiln-staging"

// staged is where a file of the plan is copied to, by its layer and its place in
// there.
func staged(layer, number int) string {
	return path.Join(stagedLayer(layer), strconv.Itoa(number))
}

func stagedLayer(number int) string { return path.Join(stagingFolder, strconv.Itoa(number)) }

// staging copies the files of a layer.
type staging struct {
	from, image *os.Root
	layer       int
	// digests holds the SHA-256 of the files that were copied, by path.
	digests map[string]string
	// progress counts the bytes that were copied.
	progress io.Writer
}

// copy copies a layer's files, as they are going to be in the image.
func (s staging) copy(ctx context.Context, entries []layer.Entry) error {
	if err := s.image.MkdirAll(stagedLayer(s.layer), 0o700); err != nil {
		return fmt.Errorf("make a folder to copy to: %w", err)
	}
	for number, e := range entries {
		if e.Type != layer.File {
			continue
		}
		if err := s.file(ctx, staged(s.layer, number), e); err != nil {
			return err
		}
	}
	return nil
}

func (s staging) file(ctx context.Context, to string, e layer.Entry) error {
	file, err := s.image.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, e.Mode.Perm())
	if err != nil {
		return fmt.Errorf("make a file in the image: %w", err)
	}
	digest, err := source.Read(ctx, s.from, e, io.MultiWriter(file, s.progress))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	s.digests[e.Path] = digest
	return normalise(s.image, to, e)
}
