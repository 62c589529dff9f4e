package command

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// storedImage is the image of a ModelVersion in its registry.
type storedImage struct {
	ref        name.Reference
	repository *registry.Repository
	descriptor *remote.Descriptor
	variants   []modelimage.Variant
	manifest   layer.Manifest
	// layers are those of the first variant, by the digest of their archives. Those of
	// the model are the same in all variants.
	layers map[string]v1.Layer
}

// imageReference returns the reference by which an image is pulled, by digest. A registry
// that has another name outside of the cluster gets that.
func (a registryAccess) imageReference(mv *v1alpha1.ModelVersion) (image string, err error) {
	if mv.Status.Digest == "" {
		return "", fmt.Errorf("ModelVersion %s has no image whose digest is known: its state is shown by kubectl kiln why %s -n %s", mv.Name, mv.Name, mv.Namespace)
	}
	repository, _ := splitImage(mv.Status.Image)
	return a.outside(repository) + "@" + mv.Status.Digest, nil
}

// outside returns an image with the host by which its registry is known here.
func (a registryAccess) outside(image string) string {
	if a.host == "" {
		return image
	}
	if host, rest, found := strings.Cut(image, "/"); found && strings.ContainsAny(host, ".:") {
		image = rest
	}
	return a.host + "/" + image
}

// fetch reads what a reference refers to. The error is a sentence.
func (a registryAccess) fetch(ctx context.Context, image string) (name.Reference, *registry.Repository, *remote.Descriptor, error) {
	config, err := a.config(image)
	if err != nil {
		return nil, nil, nil, err
	}
	ref, err := config.Reference(image)
	if err != nil {
		return nil, nil, nil, err
	}
	repository, err := config.Open(ctx, ref.Context(), registry.Pull)
	if err != nil {
		return nil, nil, nil, a.explain(err)
	}
	descriptor, err := repository.Fetch(ctx, ref)
	if registry.IsNotFound(err) {
		return nil, nil, nil, lostError{fmt.Errorf("the registry does not have %s", image)}
	}
	return ref, repository, descriptor, a.explain(err)
}

// lostError is the error of an image that the registry does not have.
type lostError struct{ error }

// explain returns an error of a registry as the sentence that builds report.
func (a registryAccess) explain(err error) error {
	if err == nil {
		return nil
	}
	f := failure.Of(failure.OfRegistry(err))
	// Builds run in the cluster, and this program does not.
	message := fmt.Sprintf("%s: %s", f.Reason, strings.ReplaceAll(f.Message, "the cluster's DNS", "the DNS"))
	if f.Reason == v1alpha1.ReasonRegistryUnreachable && a.host == "" {
		message += ". If this name is known in the cluster only, add --registry-host with the one that is known here"
	}
	return errors.New(message)
}

// open reads the image of a ModelVersion and the list of its files.
func (a registryAccess) open(ctx context.Context, mv *v1alpha1.ModelVersion) (*storedImage, error) {
	image, err := a.imageReference(mv)
	if err != nil {
		return nil, err
	}
	stored := &storedImage{layers: map[string]v1.Layer{}}
	if stored.ref, stored.repository, stored.descriptor, err = a.fetch(ctx, image); err != nil {
		var lost lostError
		if errors.As(err, &lost) {
			err = fmt.Errorf("%w: to have it built again, run: kubectl kiln retry %s -n %s", err, mv.Name, mv.Namespace)
		}
		return nil, err
	}
	return stored, stored.explain(stored.read())
}

// localError is an error of this machine, and not of a registry or an image.
type localError struct{ error }

// explain returns an error of reading the image as a sentence.
func (s *storedImage) explain(err error) error {
	var invalid *modelimage.InvalidError
	var local localError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &local):
		return local.error
	case errors.As(err, &invalid):
		return fmt.Errorf("%s is not the image of a model: %s", s.ref, invalid.Problem)
	default:
		f := failure.Of(failure.OfContent(s.repository, err))
		return fmt.Errorf("%s: %s", f.Reason, f.Message)
	}
}

func (s *storedImage) read() error {
	var err error
	if s.variants, err = modelimage.Variants(s.descriptor); err != nil {
		return err
	}
	first := s.variants[0].Image
	if s.manifest, err = modelimage.ReadManifest(first); err != nil {
		return err
	}
	config, err := first.ConfigFile()
	if err != nil {
		return err
	}
	layers, err := first.Layers()
	if err != nil {
		return err
	}
	diffIDs := modelimage.DiffIDs(config)
	if len(diffIDs) != len(layers) {
		return modelimage.Invalid("its manifest and its config have different numbers of layers")
	}
	for number, diffID := range diffIDs {
		s.layers[diffID] = layers[number]
	}
	return nil
}

// modelDir returns the directory of the image that holds the model.
func (s *storedImage) modelDir() string {
	if s.manifest.Dir != "" {
		return s.manifest.Dir
	}
	return layer.ModelDir
}

// visitFiles reads the layers of the model with these numbers, and calls visit with what
// is in the model's directory: the path in the model, the header and the content. What
// visit saw counts only if there is no error.
func (s *storedImage) visitFiles(numbers []int, visit func(path string, header *tar.Header, content io.Reader) error) error {
	for _, number := range numbers {
		built := s.manifest.Layers[number]
		blob, found := s.layers[built.DiffID]
		if !found {
			return s.explain(modelimage.Invalid("it lacks the layer %s", built.DiffID))
		}
		err := modelimage.ReadLayer(blob, built.DiffID, maxArchive(built), func(header *tar.Header, content io.Reader) error {
			path, found := strings.CutPrefix(layer.CleanName(header.Name), s.modelDir()+"/")
			if !found || layer.IsWhiteout(path) {
				// An opaque whiteout hides what the base image has in the directory.
				return nil
			}
			if err := visit(path, header, content); err != nil {
				return localError{err}
			}
			return nil
		})
		if err != nil {
			return s.explain(err)
		}
	}
	return nil
}

// maxArchive returns the size in bytes that the archive of a layer may have: that of its
// files, and what the headers of the directories and of the longest paths take.
func maxArchive(built layer.BuiltLayer) int64 {
	const perFile, directories = 16 << 10, 1 << 30
	return built.Bytes + built.Files*perFile + directories
}

// allLayers returns the numbers of the model's layers.
func (s *storedImage) allLayers() []int {
	numbers := make([]int, len(s.manifest.Layers))
	for number := range numbers {
		numbers[number] = number
	}
	return numbers
}

// sums returns the SHA-256 of the files in layers, in hexadecimal, by path.
func (s *storedImage) sums(numbers []int) (map[string]string, error) {
	found := map[string]string{}
	err := s.visitFiles(numbers, func(path string, header *tar.Header, content io.Reader) error {
		if header.Typeflag != tar.TypeReg {
			return nil
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, content); err != nil {
			return err
		}
		found[path] = hex.EncodeToString(sum.Sum(nil))
		return nil
	})
	return found, err
}
