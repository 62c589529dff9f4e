// Package image assembles container images from static programs, without a container engine.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Spec describes an image of one layer.
type Spec struct {
	// Name is the reference that the image is known by. Its tag is never latest, or kubelet would try to pull it.
	Name string
	// Files of the image by absolute path.
	Files map[string]File
	// Config is what a container of the image starts with.
	Config v1.Config
}

// File is one entry of an image: a file of the machine, a link, or a folder when both are empty.
type File struct {
	Source string
	Link   string
	// Mode is 0755 when unset.
	Mode int64
}

// Build assembles the image. The same files give the same digest, wherever and whenever it is built.
func (s Spec) Build(how compression.Compression) (v1.Image, error) {
	content, err := s.layer()
	if err != nil {
		return nil, fmt.Errorf("cannot assemble the image %s: %w", s.Name, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithCompression(how))
	if err != nil {
		return nil, fmt.Errorf("cannot assemble the image %s: %w", s.Name, err)
	}
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		// containerd silently leaves out images of no platform.
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

// layer is the tar stream of the files, in order of their paths and preceded by the folders that they lie in.
func (s Spec) layer() ([]byte, error) {
	var content bytes.Buffer
	out := tar.NewWriter(&content)
	for _, name := range s.pathsWithFolders() {
		if err := write(out, name, s.Files[name]); err != nil {
			return nil, err
		}
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

func (s Spec) pathsWithFolders() []string {
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

func write(out *tar.Writer, name string, file File) error {
	header := &tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: file.Mode, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if header.Mode == 0 {
		header.Mode = 0o755
	}
	switch {
	case file.Source != "":
		source, err := os.Open(file.Source)
		if err != nil {
			return err
		}
		defer source.Close()
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
	case file.Link != "":
		header.Typeflag, header.Linkname = tar.TypeSymlink, file.Link
	default:
		header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
	}
	return out.WriteHeader(header)
}
