package command

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/spf13/cobra"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/cmd/kubectl-kiln/internal/ocilayout"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/console"
)

func (k *kiln) export() *cobra.Command {
	access := &registryAccess{}
	cmd := &cobra.Command{
		Use:   "export VERSION (DIRECTORY | oci:DIRECTORY)",
		Short: "Write the files of a ModelVersion to a directory, or its image to an OCI layout",
		Long: `Write the files of a ModelVersion to a directory, or its image to an OCI layout.

No container runtime is needed. Every layer is verified against its digest. The
credentials are those of docker login.`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: k.completeExport,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "" || args[1] == "oci:" {
				return wrongUsage("name a directory for the files, or oci:DIRECTORY for the image")
			}
			_, mv, err := k.connectTo(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			stored, err := access.open(cmd.Context(), mv)
			if err != nil {
				return err
			}
			return k.exportTo(stored, mv, args[1])
		},
	}
	access.define(cmd.Flags())
	return cmd
}

func (k *kiln) exportTo(stored *storedImage, mv *v1alpha1.ModelVersion, target string) error {
	if dir, found := strings.CutPrefix(target, "oci:"); found {
		if err := stored.writeLayout(dir, mv.Status.Image); err != nil {
			return errors.New(quote(err))
		}
		_, err := fmt.Fprintf(k.Out, "%s is in the OCI layout %s\n", pinned(mv), dir)
		return err
	}
	files, err := stored.writeFiles(target)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(k.Out, "%s of %s are in %s\n", console.Count(files, "file"), mv.Name, target)
	return err
}

// writeLayout adds the image to an OCI layout, under its reference.
func (s *storedImage) writeLayout(dir, reference string) error {
	target, err := ocilayout.Open(dir)
	if err != nil {
		return err
	}
	named := layout.WithAnnotations(map[string]string{ocilayout.RefName: reference})
	if s.descriptor.MediaType.IsIndex() {
		index, err := s.descriptor.ImageIndex()
		if err != nil {
			return err
		}
		return target.ReplaceIndex(index, match.Name(reference), named)
	}
	return target.ReplaceImage(s.variants[0].Image, match.Name(reference), named)
}

// writeFiles writes the model to a directory that does not exist, or is empty, and
// returns the number of its files. Nothing is written outside of it, whatever the image
// has.
func (s *storedImage) writeFiles(dir string) (int64, error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return 0, fmt.Errorf("the directory %s is not empty: name another one", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }()
	w := &modelWriter{root: root, links: map[string]string{}}
	if err := s.visitFiles(s.allLayers(), w.write); err != nil {
		return 0, err
	}
	return w.files, w.finish(s.manifest)
}

// modelWriter writes the entries of layers.
type modelWriter struct {
	root  *os.Root
	files int64
	// links are created last, so that nothing is written through one.
	links map[string]string
}

func (w *modelWriter) write(name string, header *tar.Header, content io.Reader) error {
	switch header.Typeflag {
	case tar.TypeDir:
		return w.root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		w.links[name] = header.Linkname
		return nil
	case tar.TypeReg:
		w.files++
		return w.writeFile(name, content)
	default:
		return fmt.Errorf("the image has %q, which is no file, directory or link", name)
	}
}

func (w *modelWriter) writeFile(name string, content io.Reader) error {
	if err := w.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := w.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// finish creates the links, and sets the modes in the list.
func (w *modelWriter) finish(manifest layer.Manifest) error {
	for name, target := range w.links {
		if err := w.root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		if err := w.root.Symlink(target, name); err != nil {
			return err
		}
	}
	for _, e := range manifest.Entries {
		if e.Type != layer.File || e.Mode == 0 {
			continue
		}
		// The owner keeps the right to write.
		if err := w.root.Chmod(e.Path, e.Mode.Perm()|0o200); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
