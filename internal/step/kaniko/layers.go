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

// whiteout is the prefix by which a layer says that a file is gone.
const whiteout = ".wh."

// archiveName matches the names of the archives that Kaniko makes its layers
// of: what os.CreateTemp makes of an empty pattern.
var archiveName = regexp.MustCompile(`\A[0-9]+\z`)

// LayerFolders returns the folders in which the forks of Kaniko leave the
// uncompressed archives that they pushed the layers from, given Kaniko's own
// folder. They are not removed after the push.
func LayerFolders(kanikoFolder string) []string {
	return []string{
		filepath.Join(kanikoFolder, "layers"), // osscontainertools
		kanikoFolder,                          // chainguard-dev and Google
	}
}

// ReadLayers reads back the archives that Kaniko made its layers of, and says
// which of them holds how much of the plan. It is an error with the reason
// VerificationFailed when something of the plan is in none of them, or is
// there with another size, type or target: Kaniko leaves out, without a word,
// what it takes for a mount.
//
// Archives that hold nothing of the plan, as those of an unchanged filesystem,
// are not in the result: Kaniko does not make layers of them.
func ReadLayers(ctx context.Context, folders []string, plan layer.Plan) ([]report.BuiltLayer, error) {
	archives, err := findArchives(folders)
	if err != nil {
		return nil, err
	}
	c := check{missing: expected(plan), planned: expected(plan)}
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
	for _, e := range plan.Entries() {
		if _, missing := c.missing[nameOf(e.Path)]; missing {
			return nil, failure.New(v1alpha1.ReasonVerificationFailed, "the image builder left %q out of every layer, and %d things with it", e.Path, len(c.missing)-1)
		}
	}
	if len(c.missing) > 0 {
		return nil, failure.New(v1alpha1.ReasonVerificationFailed, "the image builder left the list of the model's files out of every layer")
	}
	return built, nil
}

// nameOf returns the name in an archive of something in the model.
func nameOf(planned string) string {
	return path.Join(strings.TrimPrefix(v1alpha1.ModelPath, "/"), planned)
}

// expected returns what has to be in the archives, by name: the plan and the
// manifest, whose size is not known.
func expected(plan layer.Plan) map[string]layer.Entry {
	entries := map[string]layer.Entry{
		layer.ManifestFile: {Path: layer.ManifestFile, Type: layer.File, Size: anySize},
	}
	for _, e := range plan.Entries() {
		entries[nameOf(e.Path)] = e
	}
	return entries
}

const anySize = -1

func findArchives(folders []string) ([]string, error) {
	var archives []string
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find the layers that were built: %w", err)
		}
		for _, e := range entries {
			if e.Type().IsRegular() && archiveName.MatchString(e.Name()) {
				archives = append(archives, filepath.Join(folder, e.Name()))
			}
		}
	}
	return archives, nil
}

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
		if entry.Type == layer.File && entry.Path != layer.ManifestFile {
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
	name := path.Clean(strings.TrimPrefix(header.Name, "/"))
	if gone, isWhiteout := strings.CutPrefix(path.Base(name), whiteout); isWhiteout {
		name = path.Join(path.Dir(name), gone)
		if _, planned := c.planned[name]; planned {
			return entry, false, failure.New(v1alpha1.ReasonVerificationFailed, "the image builder removed %q again", name)
		}
		return entry, false, nil
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
	case layer.Folder:
		return header.Typeflag == tar.TypeDir
	case layer.Symlink:
		return header.Typeflag == tar.TypeSymlink && header.Linkname == planned.Link
	default:
		return header.Typeflag == tar.TypeReg && (planned.Size == anySize || header.Size == planned.Size)
	}
}
