package kaniko

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
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
// entries, which are in modelDir in the archives, open. digests are the SHA-256 of the
// planned files by path. The error has the reason VerificationFailed if a planned entry
// is in none of them, or has another size, type, target or content, or if they remove a
// part of the model: Kaniko silently leaves out what it takes for a mount.
func readLayers(ctx context.Context, archives []string, modelDir string, planned []layer.Entry, digests map[string]string) ([]layerArchive, error) {
	v := verifier{modelDir: modelDir, planned: byName(modelDir, planned), missing: byName(modelDir, planned), digests: digests}
	var layers []layerArchive
	for _, archive := range archives {
		content, holdsEntries, err := v.readArchive(ctx, archive)
		if err != nil {
			return layers, err
		}
		if holdsEntries {
			layers = append(layers, content)
		}
	}
	for _, e := range planned {
		if name := path.Join(modelDir, e.Path); has(v.missing, name) {
			return layers, failure.Verification("the image builder left %q out of its layer%s", "/"+name, andOthers(len(v.missing)-1))
		}
	}
	return layers, nil
}

func has(entries map[string]layer.Entry, name string) bool {
	_, found := entries[name]
	return found
}

func andOthers(n int) string {
	if n == 0 {
		return ""
	}
	return " and " + console.Count(n, "other path")
}

// byName returns entries by their names in an archive.
func byName(modelDir string, planned []layer.Entry) map[string]layer.Entry {
	entries := make(map[string]layer.Entry, len(planned))
	for _, e := range planned {
		entries[path.Join(modelDir, e.Path)] = e
	}
	return entries
}

// verifier compares archives with a plan.
type verifier struct {
	// modelDir is the model's directory in the image.
	modelDir string
	// planned are the planned entries, and missing those that were not found
	// yet, by their names in the archive.
	planned, missing map[string]layer.Entry
	// digests are the SHA-256 of the planned files, by path.
	digests map[string]string
}

// archiveContent is what an archive holds of a plan.
type archiveContent struct {
	layer.BuiltLayer
	// entries is the number of planned entries.
	entries int
}

// readArchive reads one archive once, for its digest and its entries. If it holds
// planned entries, it stays open.
func (v *verifier) readArchive(ctx context.Context, name string) (archive layerArchive, holdsEntries bool, err error) {
	file, err := os.Open(name)
	if err != nil {
		return archive, false, fmt.Errorf("read back a layer: %w", err)
	}
	defer func() {
		if !holdsEntries {
			_ = file.Close()
		}
	}()

	const bufferSize = 1 << 20
	digest := &hashCounter{Hash: sha256.New()}
	reader := io.TeeReader(bufio.NewReaderSize(file, bufferSize), digest)
	content, err := v.readEntries(ctx, tar.NewReader(reader))
	if err != nil {
		return archive, false, err
	}
	// The digest includes what follows the end of the archive.
	if _, err := io.Copy(io.Discard, reader); err != nil {
		return archive, false, fmt.Errorf("read back a layer: %w", err)
	}
	content.DiffID = "sha256:" + hex.EncodeToString(digest.Sum(nil))
	return layerArchive{BuiltLayer: content.BuiltLayer, file: file, size: digest.bytes}, content.entries > 0, nil
}

// hashCounter hashes and counts what is written to it.
type hashCounter struct {
	hash.Hash
	bytes int64
}

func (c *hashCounter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	return c.Hash.Write(p)
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
			return content, damaged(err)
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
			if err := v.verifyContent(entry, archive); err != nil {
				return content, err
			}
			content.Files++
			content.Bytes += entry.Size
		}
	}
}

func damaged(cause error) error {
	return failure.Verification("a layer that the image builder wrote is damaged").WithCause(cause)
}

// verifyContent checks the content of a planned file.
func (v *verifier) verifyContent(planned layer.Entry, content io.Reader) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return damaged(err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != v.digests[planned.Path] {
		return failure.Verification("the image builder wrote %q with other content than the model", planned.Path)
	}
	return nil
}

// verify checks one entry of an archive. isNew is true for a planned entry that
// no archive had before.
func (v *verifier) verify(header *tar.Header) (entry layer.Entry, isNew bool, err error) {
	name := layer.CleanName(header.Name)
	if layer.RemovesModel(v.modelDir, name) {
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
