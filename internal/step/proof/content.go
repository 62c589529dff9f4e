package proof

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// anySize is the size of a file that can have any content.
const anySize = -1

// content is what a layer may hold.
type content struct {
	diffID string
	// entries are the entries that the layer may hold, by name. It must hold those in
	// missing, which were not found yet.
	entries map[string]layer.Entry
	missing map[string]bool
	// digests are the SHA-256 of files by path.
	digests map[string]string
	found   map[string]bool
}

func newContent(diffID string, digests map[string]string) *content {
	return &content{diffID: diffID, digests: digests, entries: map[string]layer.Entry{}, missing: map[string]bool{}, found: map[string]bool{}}
}

func (c *content) allow(name string, e layer.Entry) { c.entries[name] = e }

func (c *content) require(name string, e layer.Entry) {
	c.allow(name, e)
	c.missing[name] = true
}

// check reads a layer and returns a *modelimage.InvalidError for the first entry that
// it must not hold, or that it lacks.
func (c *content) check(ctx context.Context, l v1.Layer, maxSize int64) error {
	err := modelimage.ReadLayer(l, c.diffID, maxSize, func(header *tar.Header, file io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return c.visit(header, file)
	})
	if err != nil {
		return err
	}
	for name := range c.missing {
		return modelimage.Invalid("a layer lacks %q", name)
	}
	return nil
}

func (c *content) visit(header *tar.Header, file io.Reader) error {
	name := layer.CleanName(header.Name)
	if !isPlainName(header.Name, name) {
		return modelimage.Invalid("a layer holds an entry with the unusual name %q", header.Name)
	}
	if name == layer.RootDir && isPlainRoot(header) {
		return nil
	}
	want, allowed := c.entries[name]
	if !allowed {
		return modelimage.Invalid("a layer holds %q, which no build adds", name)
	}
	if c.found[name] {
		return modelimage.Invalid("a layer holds %q twice", name)
	}
	if !matches(header, want) {
		return modelimage.Invalid("a layer holds %q with another type, size, mode, owner or target", name)
	}
	c.found[name] = true
	delete(c.missing, name)
	if want.Type != layer.File || want.Size == anySize {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return modelimage.Invalid("the content of %q cannot be read: %v", name, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != c.digests[want.Path] {
		return modelimage.Invalid("a layer holds %q with other content than the model", name)
	}
	return nil
}

// isPlainName reports whether a name is written as the engines write it. Runtimes
// resolve other spellings to the same file.
func isPlainName(name, clean string) bool {
	return name == clean || name == clean+"/" || clean == layer.RootDir
}

// isPlainRoot reports whether an entry is the image's root directory, which Kaniko
// archives in every layer, with an owner and a mode that give nobody more rights.
func isPlainRoot(header *tar.Header) bool {
	const othersMayWrite = 0o022
	return header.Typeflag == tar.TypeDir && header.Uid == 0 && header.Gid == 0 && header.Mode&(othersMayWrite|special) == 0 && hasPlainRecords(header)
}

// special are the bits of a mode for set-user-ID, set-group-ID and sticky.
const special = 0o7000

// matches reports whether an archive's entry is one that the image must have.
func matches(header *tar.Header, want layer.Entry) bool {
	if header.Uid != 0 || header.Gid != 0 || !hasPlainRecords(header) {
		return false
	}
	mode := header.Mode & (special | 0o777)
	switch want.Type {
	case layer.Dir:
		return header.Typeflag == tar.TypeDir && mode == int64(want.Mode)
	case layer.Symlink:
		return header.Typeflag == tar.TypeSymlink && header.Linkname == want.Link
	default:
		return header.Typeflag == tar.TypeReg && mode == int64(want.Mode) && (header.Size == want.Size || want.Size == anySize)
	}
}

// plainRecords are the extended headers that only repeat fields of a header.
// Others, such as extended attributes, change what a file is.
var plainRecords = []string{"path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime", "atime", "ctime"}

func hasPlainRecords(header *tar.Header) bool {
	for key := range header.PAXRecords {
		if !slices.Contains(plainRecords, key) {
			return false
		}
	}
	return true
}
