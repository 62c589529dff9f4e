// Package content describes the files of a directory and the files of an image
// in the same terms, so that a test can compare a model with its image.
package content

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Entry is one file, directory or link of an image's file system. Root owns
// all of them.
type Entry struct {
	Type   byte
	Mode   int64
	SHA256 string
	Link   string
}

// Directory is a directory as every image has it.
var Directory = Entry{Type: tar.TypeDir, Mode: 0o755}

// File returns a file with this content that everyone can read.
func File(content string) Entry {
	return Entry{Type: tar.TypeReg, Mode: 0o644, SHA256: Sum(content)}
}

// Executable returns a file with this content that everyone can execute.
func Executable(content string) Entry {
	return Entry{Type: tar.TypeReg, Mode: 0o755, SHA256: Sum(content)}
}

// Symlink returns a symbolic link.
func Symlink(target string) Entry { return Entry{Type: tar.TypeSymlink, Link: target} }

// Sum returns the SHA-256 sum of a text, in hexadecimal.
func Sum(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func sumOf(content io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, content); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// OfDirectory returns what an image of the directory must hold, by path; "." is
// the directory itself.
func OfDirectory(t *testing.T, dir string) map[string]Entry {
	t.Helper()
	entries := map[string]Entry{}
	require.NoError(t, filepath.WalkDir(dir, func(at string, found fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, at)
		if err != nil {
			return err
		}
		entries[relative], err = entryAt(at, found)
		return err
	}))
	return entries
}

func entryAt(at string, found fs.DirEntry) (Entry, error) {
	switch {
	case found.IsDir():
		return Directory, nil
	case found.Type() == fs.ModeSymlink:
		target, err := os.Readlink(at)
		return Symlink(target), err
	case !found.Type().IsRegular():
		return Entry{}, fmt.Errorf("%s is not a file, a directory or a symbolic link", at)
	}
	file, err := os.Open(at)
	if err != nil {
		return Entry{}, err
	}
	defer file.Close()
	sum, err := sumOf(file)
	return Entry{Type: tar.TypeReg, Mode: 0o644, SHA256: sum}, err
}

// WriteRandom writes a file that no compression makes smaller, as weights are,
// and the directories above it. The path decides the content.
func WriteRandom(t *testing.T, file string, size int64) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	out, err := os.Create(file)
	require.NoError(t, err)
	_, err = io.CopyN(out, rand.NewChaCha8(sha256.Sum256([]byte(file))), size)
	require.NoError(t, errors.Join(err, out.Close()))
}

// Image is an image as a registry holds it.
type Image struct {
	// Digest is that of the tag, which may be that of an index.
	Digest string
	Config v1.Config
	// Layers are the descriptors of the image's manifest.
	Layers []v1.Descriptor
	// Model is what the image holds below /kubedl-model, by path; "." is that
	// directory itself. Others is the rest of the image, by absolute path.
	Model, Others map[string]Entry
}

// OfImage pulls an image, over plain HTTP unless the registry has HTTPS, and returns
// what it holds; of an index, what the image for linux/amd64 holds.
func OfImage(t *testing.T, reference string, options ...remote.Option) Image {
	t.Helper()
	pulled := Pull(t, reference, options...)
	config, err := pulled.ConfigFile()
	require.NoError(t, err)
	manifest, err := pulled.Manifest()
	require.NoError(t, err)

	image := Image{
		Digest: Digest(t, reference, options...), Config: config.Config, Layers: manifest.Layers,
		Model: map[string]Entry{}, Others: map[string]Entry{},
	}
	image.read(t, pulled)
	return image
}

// Pull returns an image that is in its registry, over plain HTTP unless the registry
// has HTTPS; of an index, that for linux/amd64.
func Pull(t *testing.T, reference string, options ...remote.Option) v1.Image {
	t.Helper()
	return PullFor(t, reference, v1.Platform{OS: "linux", Architecture: "amd64"}, options...)
}

// PullFor returns the image for a platform.
func PullFor(t *testing.T, reference string, platform v1.Platform, options ...remote.Option) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	pulled, err := remote.Image(ref, append(options, remote.WithContext(t.Context()), remote.WithPlatform(platform))...)
	require.NoError(t, err, "%s is not in the registry", reference)
	return pulled
}

// read reads the image's files as its containers see them.
func (i *Image) read(t *testing.T, pulled v1.Image) {
	t.Helper()
	flat := mutate.Extract(pulled)
	defer flat.Close()
	for reader := tar.NewReader(flat); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		sum, err := sumOf(reader)
		require.NoError(t, err)
		i.add(t, header, sum)
	}
}

func (i *Image) add(t *testing.T, header *tar.Header, sum string) {
	t.Helper()
	found := Entry{Type: header.Typeflag, Mode: header.Mode, Link: header.Linkname}
	switch header.Typeflag {
	case tar.TypeReg:
		found.SHA256 = sum
	case tar.TypeSymlink:
		found.Mode = 0
	}
	at := path.Join("/", header.Name)
	below, inModel := strings.CutPrefix(at+"/", v1alpha1.ModelPath+"/")
	if !inModel {
		i.Others[at] = found
		return
	}
	assert.Equal(t, [2]int{0, 0}, [2]int{header.Uid, header.Gid}, "owner of %q", at)
	i.Model[path.Clean(below)] = found
}

// Digest returns the digest of a tag.
func Digest(t *testing.T, reference string, options ...remote.Option) string {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	found, err := remote.Head(ref, append(options, remote.WithContext(t.Context()))...)
	require.NoError(t, err, "%s is not in the registry", reference)
	return found.Digest.String()
}

// AssertNotTagged checks that the registry has nothing under a tag.
func AssertNotTagged(t *testing.T, reference string) {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	_, err = remote.Head(ref, remote.WithContext(t.Context()))
	require.ErrorContains(t, err, "404", "%s is in the registry", reference)
}
