// Package image assembles container images from static programs, without a container engine.
package image

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Spec describes an image of one layer.
type Spec struct {
	// Name is the reference of the image. Its tag is never latest, or kubelet would try to pull it.
	Name string
	// Files are the files of the image by absolute path.
	Files map[string]File
	// Config is the configuration of the image's containers.
	Config v1.Config
}

// File is one entry of an image: a regular file, a symbolic link, or a directory when neither Source nor Link is set.
type File struct {
	// Source is the path of the file on this machine.
	Source string
	// Link is the target of the symbolic link.
	Link string
	// Mode is 0755 when unset.
	Mode int64
}

// Build returns the image with an uncompressed layer, for containerd on this machine: compressing and decompressing the layer
// would take twenty times as long as hashing it. The same files give the same digest, wherever and whenever it is built.
func (s Spec) Build() (v1.Image, error) {
	layer, err := newPlainLayer(s.open)
	if err != nil {
		return nil, fmt.Errorf("cannot assemble the image %s: %w", s.Name, err)
	}
	return s.image(layer)
}

// Digest returns the digest of the image, which depends on its files and configuration alone.
func (s Spec) Digest() (v1.Hash, error) {
	img, err := s.Build()
	if err != nil {
		return v1.Hash{}, err
	}
	return img.Digest()
}

// BuildCompressed returns the image with a compressed layer, for a registry.
func (s Spec) BuildCompressed() (v1.Image, error) {
	layer, err := tarball.LayerFromOpener(s.open, tarball.WithCompressedCaching, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("cannot assemble the image %s: %w", s.Name, err)
	}
	return s.image(layer)
}

func (s Spec) image(layer v1.Layer) (v1.Image, error) {
	// OCI media types, which Docker Hub's official images have too: on images
	// with Docker's own, Kaniko can compress with gzip only.
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{
		// containerd silently skips images without a platform.
		OS:           "linux",
		Architecture: runtime.GOARCH,
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       s.Config,
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layer)
}

// open returns the layer's tar stream. It is written while it is read, so that no image is held in memory.
func (s Spec) open() (io.ReadCloser, error) {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(s.writeLayer(writer)) }()
	return reader, nil
}

// writeLayer writes the files as a tar stream, in the order of their paths and each preceded by its parent directories.
func (s Spec) writeLayer(to io.Writer) error {
	out := tar.NewWriter(to)
	for _, name := range s.pathsWithParents() {
		if err := writeEntry(out, name, s.Files[name]); err != nil {
			return err
		}
	}
	return out.Close()
}

func (s Spec) pathsWithParents() []string {
	paths := map[string]bool{}
	for name := range s.Files {
		for ; name != "/"; name = path.Dir(name) {
			paths[name] = true
		}
	}
	sorted := make([]string, 0, len(paths))
	for name := range paths {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	return sorted
}

func writeEntry(out *tar.Writer, name string, file File) error {
	header := &tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: file.Mode, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if header.Mode == 0 {
		header.Mode = 0o755
	}
	switch {
	case file.Source != "":
		return writeFile(out, header, file.Source)
	case file.Link != "":
		header.Typeflag, header.Linkname = tar.TypeSymlink, file.Link
	default:
		header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
	}
	return out.WriteHeader(header)
}

func writeFile(out *tar.Writer, header *tar.Header, path string) error {
	source, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	header.Typeflag, header.Size = tar.TypeReg, info.Size()
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(out, source)
	return err
}
