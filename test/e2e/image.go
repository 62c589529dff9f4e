//go:build e2e

package e2e

import (
	"archive/tar"
	"errors"
	"io"
	"path"
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

// entry is one thing in an image's file system. Whatever it is, it belongs to
// root.
type entry struct {
	Type   byte
	Mode   int64
	SHA256 string
	Link   string
}

const fileEntry = tar.TypeReg

// aFolder is a folder as every image has it.
var aFolder = entry{Type: tar.TypeDir, Mode: 0o755}

// aFile is a file of this content that anyone may read.
func aFile(content string) entry {
	return entry{Type: fileEntry, Mode: 0o644, SHA256: sumOf(content)}
}

// aProgram is a file of this content that anyone may execute.
func aProgram(content string) entry {
	return entry{Type: fileEntry, Mode: 0o755, SHA256: sumOf(content)}
}

// aLink is a symbolic link.
func aLink(target string) entry { return entry{Type: tar.TypeSymlink, Link: target} }

// image is an image as the registry holds it.
type image struct {
	digest string
	config v1.Config
	// layers are the layers as the registry has them.
	layers []v1.Descriptor
	// model is what the image holds below /kubedl-model, by path; "." is that
	// folder itself. The rest of the image is in others.
	model, others map[string]entry
}

// pull reads an image from the registry.
func pull(t *testing.T, reference string) image {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	held, err := remote.Image(ref, remote.WithContext(t.Context()))
	require.NoError(t, err, "%s is not in the registry", reference)
	digest, err := held.Digest()
	require.NoError(t, err)
	config, err := held.ConfigFile()
	require.NoError(t, err)
	manifest, err := held.Manifest()
	require.NoError(t, err)

	img := image{
		digest: digest.String(), config: config.Config, layers: manifest.Layers,
		model: map[string]entry{}, others: map[string]entry{},
	}
	img.read(t, held)
	return img
}

// read reads the files of the image, as a container of it sees them.
func (i *image) read(t *testing.T, held v1.Image) {
	t.Helper()
	flat := mutate.Extract(held)
	defer flat.Close()
	reader := tar.NewReader(flat)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		sum, err := sumOfReader(reader)
		require.NoError(t, err)
		found := entry{Type: header.Typeflag, Mode: header.Mode, Link: header.Linkname}
		switch header.Typeflag {
		case tar.TypeReg:
			found.SHA256 = sum
		case tar.TypeSymlink:
			found.Mode = 0
		}
		at := path.Join("/", header.Name)
		below, inModel := strings.CutPrefix(at+"/", v1alpha1.ModelPath+"/")
		if !inModel {
			i.others[at] = found
			continue
		}
		assert.Equal(t, [2]int{0, 0}, [2]int{header.Uid, header.Gid}, "owner of %q", at)
		i.model[path.Clean(below)] = found
	}
}

// digestOf is the digest that a tag has in the registry.
func digestOf(t *testing.T, reference string) string {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	held, err := remote.Head(ref, remote.WithContext(t.Context()))
	require.NoError(t, err, "%s is not in the registry", reference)
	return held.Digest.String()
}
