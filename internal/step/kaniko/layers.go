package kaniko

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// archiveName matches the names of archives among Kaniko's other files: those
// that os.CreateTemp gives for an empty pattern.
var archiveName = regexp.MustCompile(`\A[0-9]+\z`)

// findArchives returns the uncompressed archives of the layers that Kaniko has
// built so far, in the directory in which Kaniko keeps its files. They are
// complete whenever Kaniko runs a command. They have to be read before the push,
// after which the Kaniko of osscontainertools removes them; that of
// chainguard-dev keeps them.
func findArchives(kanikoDir string) ([]string, error) {
	var archives []string
	for dir, isArchive := range map[string]func(name string) bool{
		// osscontainertools: the directory holds nothing else.
		filepath.Join(kanikoDir, "layers"): func(string) bool { return true },
		// chainguard-dev: the directory holds other files too.
		kanikoDir: archiveName.MatchString,
	} {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find the archives of the layers: %w", err)
		}
		for _, e := range entries {
			if e.Type().IsRegular() && isArchive(e.Name()) {
				archives = append(archives, filepath.Join(dir, e.Name()))
			}
		}
	}
	return archives, nil
}

// readLayers reads the archives of layers, and returns those that hold planned
// entries. The error has the reason VerificationFailed if a planned entry is in
// none of them, or has another size, type or target, or if they remove a part of
// the model: Kaniko silently leaves out what it takes for a mount.
func readLayers(ctx context.Context, archives []string, planned []layer.Entry) ([]layer.BuiltLayer, error) {
	v := verifier{planned: byName(planned), missing: byName(planned)}
	var layers []layer.BuiltLayer
	for _, archive := range archives {
		content, err := v.readArchive(ctx, archive)
		if err != nil {
			return nil, err
		}
		if content.entries > 0 {
			layers = append(layers, content.BuiltLayer)
		}
	}
	for _, e := range planned {
		if _, missing := v.missing[archivedName(e.Path)]; missing {
			return nil, failure.Verification("the image builder left %q out of its layer%s", "/"+archivedName(e.Path), andOthers(len(v.missing)-1))
		}
	}
	return layers, nil
}

func andOthers(n int) string {
	if n == 0 {
		return ""
	}
	return " and " + console.Count(n, "other path")
}

// archivedName returns the name in an archive of a file of the model.
func archivedName(planned string) string { return path.Join(layer.ModelDir, planned) }

func byName(planned []layer.Entry) map[string]layer.Entry {
	entries := make(map[string]layer.Entry, len(planned))
	for _, e := range planned {
		entries[archivedName(e.Path)] = e
	}
	return entries
}

// verifier compares archives with a plan.
type verifier struct {
	// planned are the planned entries, and missing those that were not found
	// yet, by their names in the archive.
	planned, missing map[string]layer.Entry
}

// archiveContent is what an archive holds of a plan.
type archiveContent struct {
	layer.BuiltLayer
	// entries is the number of planned entries.
	entries int
}

// readArchive reads one archive once, for its digest and its entries.
func (v *verifier) readArchive(ctx context.Context, file string) (archiveContent, error) {
	f, err := os.Open(file)
	if err != nil {
		return archiveContent{}, fmt.Errorf("read back a layer: %w", err)
	}
	defer func() { _ = f.Close() }()

	const bufferSize = 1 << 20
	digest := sha256.New()
	reader := io.TeeReader(bufio.NewReaderSize(f, bufferSize), digest)
	content, err := v.readEntries(ctx, tar.NewReader(reader))
	if err != nil {
		return archiveContent{}, err
	}
	// The digest includes what follows the end of the archive.
	if _, err := io.Copy(io.Discard, reader); err != nil {
		return archiveContent{}, fmt.Errorf("read back a layer: %w", err)
	}
	content.DiffID = "sha256:" + hex.EncodeToString(digest.Sum(nil))
	return content, nil
}

// readEntries counts the planned entries of an archive. A file that is no archive,
// such as another file of Kaniko with a number for a name, has none.
func (v *verifier) readEntries(ctx context.Context, archive *tar.Reader) (content archiveContent, err error) {
	for read := 0; ; read++ {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) || (err != nil && read == 0) {
			return content, nil
		}
		if err != nil {
			return content, failure.Verification("a layer that the image builder wrote is damaged").WithCause(err)
		}
		if err := ctx.Err(); err != nil {
			return content, err
		}
		entry, isNew, err := v.verify(header)
		if err != nil {
			return content, err
		}
		if !isNew {
			continue
		}
		content.entries++
		if entry.Type == layer.File {
			content.Files++
			content.Bytes += entry.Size
		}
	}
}

// verify checks one entry of an archive. isNew is true for a planned entry that
// no archive had before.
func (v *verifier) verify(header *tar.Header) (entry layer.Entry, isNew bool, err error) {
	name := layer.CleanName(header.Name)
	if layer.RemovesModel(name) {
		return entry, false, failure.Verification("the image builder removed a part of the model: %q", name)
	}
	entry, planned := v.planned[name]
	if !planned {
		return entry, false, nil
	}
	if !matches(header, entry) {
		return entry, false, failure.Verification("the image builder wrote %q differently from the model", entry.Path)
	}
	_, isNew = v.missing[name]
	delete(v.missing, name)
	return entry, isNew, nil
}

// matches reports whether an archive's entry is the planned one.
func matches(header *tar.Header, planned layer.Entry) bool {
	switch planned.Type {
	case layer.Dir:
		return header.Typeflag == tar.TypeDir
	case layer.Symlink:
		return header.Typeflag == tar.TypeSymlink && header.Linkname == planned.Link
	default:
		return header.Typeflag == tar.TypeReg && header.Size == planned.Size
	}
}
