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
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// archiveName matches the names of archives among Kaniko's other files: what
// os.CreateTemp makes of an empty pattern.
var archiveName = regexp.MustCompile(`\A[0-9]+\z`)

// FindArchives returns the uncompressed archives that Kaniko has made layers of
// so far, given Kaniko's own folder. They are whole whenever Kaniko runs a
// command. chainguard-dev's Kaniko leaves them after the push, and the one of
// osscontainertools removes them, so that they have to be read before.
func FindArchives(kanikoFolder string) ([]string, error) {
	var archives []string
	for folder, isArchive := range map[string]func(name string) bool{
		// osscontainertools: nothing else is in there.
		filepath.Join(kanikoFolder, "layers"): func(string) bool { return true },
		// chainguard-dev: among other files.
		kanikoFolder: archiveName.MatchString,
	} {
		entries, err := os.ReadDir(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find the layers that were built: %w", err)
		}
		for _, e := range entries {
			if e.Type().IsRegular() && isArchive(e.Name()) {
				archives = append(archives, filepath.Join(folder, e.Name()))
			}
		}
	}
	return archives, nil
}

// ReadLayers reads archives that Kaniko made layers of, and says which of them
// holds how much of what was planned. It is an error with the reason
// VerificationFailed when something planned is in none of them, or is there
// with another size, type or target, or when they remove something of the
// model: Kaniko leaves out, without a word, what it takes for a mount.
//
// Archives that hold nothing that was planned are not in the result.
func ReadLayers(ctx context.Context, archives []string, planned []layer.Entry) ([]report.BuiltLayer, error) {
	c := check{planned: byName(planned), missing: byName(planned)}
	var built []report.BuiltLayer
	for _, archive := range archives {
		read, held, err := c.archive(ctx, archive)
		if err != nil {
			return nil, err
		}
		if held > 0 {
			built = append(built, read)
		}
	}
	for _, e := range planned {
		if _, missing := c.missing[nameOf(e.Path)]; missing {
			return nil, failure.New(v1alpha1.ReasonVerificationFailed, "the image builder left %q out of its layer, and %d things more", "/"+nameOf(e.Path), len(c.missing)-1)
		}
	}
	return built, nil
}

// modelName is the name in an archive of the model's own folder.
var modelName = strings.TrimPrefix(v1alpha1.ModelPath, "/")

// nameOf returns the name in an archive of something in the model.
func nameOf(planned string) string { return path.Join(modelName, planned) }

func byName(planned []layer.Entry) map[string]layer.Entry {
	entries := make(map[string]layer.Entry, len(planned))
	for _, e := range planned {
		entries[nameOf(e.Path)] = e
	}
	return entries
}

// RemovesModel says whether an entry of a layer, by its name, removes the
// model or a part of it from the layers below.
func RemovesModel(entry string) bool {
	name := cleanName(entry)
	gone, isWhiteout := strings.CutPrefix(path.Base(name), layer.WhiteoutPrefix)
	if !isWhiteout {
		return false
	}
	name = path.Join(path.Dir(name), gone)
	return name == modelName || strings.HasPrefix(name, modelName+"/")
}

// cleanName returns the name of an archive's entry without what says nothing.
func cleanName(entry string) string { return path.Clean(strings.TrimPrefix(entry, "/")) }

// check compares archives with a plan.
type check struct {
	// planned is everything that has to be there, and missing what was not
	// seen yet, by name in the archive.
	planned, missing map[string]layer.Entry
}

// archive reads one archive once, from its beginning to its end, for its
// digest and its names. held counts what it holds of the plan.
func (c *check) archive(ctx context.Context, file string) (built report.BuiltLayer, held int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return built, 0, fmt.Errorf("read back a layer: %w", err)
	}
	defer func() { _ = f.Close() }()

	const bufferSize = 1 << 20
	digest := sha256.New()
	content := io.TeeReader(bufio.NewReaderSize(f, bufferSize), digest)
	entries := tar.NewReader(content)
	for read := 0; ; read++ {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && read == 0 {
			// Some other file of such a name.
			return built, 0, nil
		}
		if err != nil {
			return built, 0, failure.New(v1alpha1.ReasonVerificationFailed, "a layer that the image builder wrote is damaged").Because(err)
		}
		if err := ctx.Err(); err != nil {
			return built, 0, err
		}
		entry, counts, err := c.entry(header)
		if err != nil {
			return built, 0, err
		}
		if !counts {
			continue
		}
		held++
		if entry.Type == layer.File {
			built.Files++
			built.Bytes += entry.Size
		}
	}
	// What follows the end of the archive belongs to the digest.
	if _, err := io.Copy(io.Discard, content); err != nil {
		return built, 0, fmt.Errorf("read back a layer: %w", err)
	}
	built.DiffID = "sha256:" + hex.EncodeToString(digest.Sum(nil))
	return built, held, nil
}

// entry checks one entry of an archive. It counts when it is something planned
// that no archive had before.
func (c *check) entry(header *tar.Header) (entry layer.Entry, counts bool, err error) {
	name := cleanName(header.Name)
	if RemovesModel(name) {
		return entry, false, failure.New(v1alpha1.ReasonVerificationFailed, "the image builder removed a part of the model again: %q", name)
	}
	entry, planned := c.planned[name]
	if !planned {
		return entry, false, nil
	}
	if !matches(header, entry) {
		return entry, false, failure.New(v1alpha1.ReasonVerificationFailed, "the image builder wrote %q, but not as it is in the model", entry.Path)
	}
	_, counts = c.missing[name]
	delete(c.missing, name)
	return entry, counts, nil
}

// matches says whether an archive's entry is what was planned.
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
