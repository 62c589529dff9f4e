package step

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// forgery is an image, taken apart, of a user who can push to the repository.
// The manifest of files that it gets fits its layers.
type forgery struct {
	base []v1.Layer
	// model are the archives of the layers with the model's files, and last is that of
	// the layer with the manifest of files.
	model [][]tarEntry
	last  []tarEntry
	// above are layers above the last one, and below are layers above the base image.
	below, above []v1.Layer
	files        layer.Manifest
	config       *v1.ConfigFile
	// replace replaces a layer when the image is put together.
	replace func(number int, l v1.Layer) mutate.Addendum
}

type tarEntry struct {
	tar.Header
	content string
}

func file(name, content string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}, content}
}

// entry returns an entry of the model's layers by its name.
func (f *forgery) entry(t *testing.T, name string) *tarEntry {
	t.Helper()
	for _, archive := range append(f.model, f.last) {
		for i := range archive {
			if archive[i].Name == name {
				return &archive[i]
			}
		}
	}
	require.Fail(t, "no such entry", name)
	return nil
}

// spoilWeights changes the content of w.bin, which keeps its size.
func (f *forgery) spoilWeights(t *testing.T) {
	t.Helper()
	e := f.entry(t, "kubedl-model/w.bin")
	e.content = "hostile"
	require.Len(t, e.content, int(e.Size))
}

// setSHA256 sets the digest that the manifest of files has of a file.
func (f *forgery) setSHA256(path, sum string) {
	for i, e := range f.files.Entries {
		if e.Path == path {
			f.files.Entries[i].SHA256 = sum
		}
	}
}

// takeApart takes apart the image at the tag.
func (p *pod) takeApart(t *testing.T) *forgery {
	t.Helper()
	return p.takeImageApart(t, p.pull(t))
}

func (p *pod) takeImageApart(t *testing.T, image v1.Image) *forgery {
	t.Helper()
	files, err := modelimage.ReadManifest(image)
	require.NoError(t, err)
	layers, err := image.Layers()
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	last := len(layers) - 1
	first := last - len(files.Layers)
	f := &forgery{base: layers[:first], files: files, config: config.DeepCopy(), last: readArchive(t, layers[last])}
	for _, l := range layers[first:last] {
		f.model = append(f.model, readArchive(t, l))
	}
	return f
}

func readArchive(t *testing.T, l v1.Layer) []tarEntry {
	t.Helper()
	archive, err := l.Uncompressed()
	require.NoError(t, err)
	defer func() { _ = archive.Close() }()
	var read []tarEntry
	for entries := tar.NewReader(archive); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return read
		}
		require.NoError(t, err)
		content, err := io.ReadAll(entries)
		require.NoError(t, err)
		read = append(read, tarEntry{*header, string(content)})
	}
}

func archiveOf(t *testing.T, entries ...tarEntry) v1.Layer {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, e := range entries {
		require.NoError(t, w.WriteHeader(&e.Header))
		_, err := w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return static.NewLayer(archive.Bytes(), types.OCIUncompressedLayer)
}

// image puts the image together.
func (f *forgery) image(t *testing.T) v1.Image {
	t.Helper()
	layers := slices.Concat(f.base, f.below)
	for number, entries := range f.model {
		l := archiveOf(t, entries...)
		diffID, err := l.DiffID()
		require.NoError(t, err)
		if number < len(f.files.Layers) {
			f.files.Layers[number].DiffID = diffID.String()
		}
		layers = append(layers, l)
	}
	var written bytes.Buffer
	_, err := modelimage.WriteManifest(&written, f.files)
	require.NoError(t, err)
	for i := range f.last {
		if f.last[i].Name == layer.ManifestFile {
			f.last[i].content, f.last[i].Size = written.String(), int64(written.Len())
		}
	}
	layers = slices.Concat(layers, []v1.Layer{archiveOf(t, f.last...)}, f.above)
	var addenda []mutate.Addendum
	for number, l := range layers {
		addendum := mutate.Addendum{Layer: l}
		if f.replace != nil {
			addendum = f.replace(number-len(f.base), l)
		}
		addenda = append(addenda, addendum)
	}
	image, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), addenda...)
	require.NoError(t, err)
	withLayers, err := image.ConfigFile()
	require.NoError(t, err)
	f.config.RootFS, f.config.History = withLayers.RootFS, nil
	image, err = mutate.ConfigFile(image, f.config)
	require.NoError(t, err)
	return image
}

// lyingLayer is a layer whose content in the registry is not that of its diffID.
type lyingLayer struct {
	v1.Layer
	diffID v1.Hash
}

func (l lyingLayer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// forgeries change the image of a model of the files config.json and w.bin, which
// are in one layer, in ways that are possible for anyone who can push to the repository.
var forgeries = map[string]struct {
	change func(t *testing.T, f *forgery)
	// kaniko is what the message says about an image of Kaniko.
	kaniko string
	// stream is what the message says about an image of Stream, if that differs. An
	// archive that differs from that of the files can also be that of other files.
	stream string
}{
	"a layer between the model and the manifest of files": {
		change: func(t *testing.T, f *forgery) {
			f.model = append(f.model, []tarEntry{file("kubedl-model/w.bin", "hostile")})
		},
		kaniko: "a layer is not one of the model's", stream: "a layer is not one of the model's",
	},
	"a layer that the manifest of files lists": {
		change: func(t *testing.T, f *forgery) {
			f.model = append(f.model, []tarEntry{file("kubedl-model/w.bin", "hostile")})
			f.files.Layers = append(f.files.Layers, layer.BuiltLayer{})
		},
		kaniko: "does not assign every file to a layer", stream: "does not assign every file to a layer",
	},
	"a layer below the model": {
		change: func(t *testing.T, f *forgery) { f.below = []v1.Layer{archiveOf(t, file("bin/sh", "evil"))} },
		kaniko: "it has other layers than the base image", stream: "it has other layers than the base image",
	},
	"a layer above the manifest of files": {
		change: func(t *testing.T, f *forgery) {
			f.above = []v1.Layer{archiveOf(t, file("kubedl-model/w.bin", "hostile"))}
		},
		kaniko: "lacks the manifest of the model's files", stream: "lacks the manifest of the model's files",
	},
	"a layer with another manifest of files above": {
		change: func(t *testing.T, f *forgery) {
			f.image(t)
			f.above = []v1.Layer{archiveOf(t, append(slices.Clone(f.last), file("kubedl-model/w.bin", "hostile"))...)}
		},
		kaniko: "is not one of the model's", stream: "is not one of the model's",
	},
	"another base image": {
		change: func(t *testing.T, f *forgery) { f.base = []v1.Layer{archiveOf(t, file("bin/sh", "evil"))} },
		kaniko: "it has other layers than the base image", stream: "it has other layers than the base image",
	},
	"no base image": {
		change: func(_ *testing.T, f *forgery) { f.base = nil },
		kaniko: "it has other layers than the base image", stream: "it has other layers than the base image",
	},
	"a base image with other content than its diffID": {
		change: func(t *testing.T, f *forgery) {
			diffID, err := f.base[0].DiffID()
			require.NoError(t, err)
			f.base = []v1.Layer{lyingLayer{archiveOf(t, file("bin/sh", "evil")), diffID}}
		},
		kaniko: "it has other layers than the base image", stream: "it has other layers than the base image",
	},
	"an Entrypoint": {
		change: func(_ *testing.T, f *forgery) { f.config.Config.Entrypoint = []string{"/evil"} },
		kaniko: "another Entrypoint than the base image", stream: "another Entrypoint than the base image",
	},
	"a Cmd": {
		change: func(_ *testing.T, f *forgery) { f.config.Config.Cmd = []string{"/evil"} },
		kaniko: "another Cmd than", stream: "another Cmd than",
	},
	"another User": {
		change: func(_ *testing.T, f *forgery) { f.config.Config.User = "0" },
		kaniko: "another User than", stream: "another User than",
	},
	"another variable": {
		change: func(_ *testing.T, f *forgery) {
			f.config.Config.Env = append(f.config.Config.Env, "LD_PRELOAD=/kubedl-model/w.bin")
		},
		kaniko: "another Env than", stream: "another Env than",
	},
	"another model path": {
		change: func(_ *testing.T, f *forgery) {
			f.config.Config.Env = append(f.config.Config.Env, "KUBEDL_MODEL_PATH=/evil")
		},
		kaniko: "does not set KUBEDL_MODEL_PATH=/kubedl-model, or sets it twice", stream: "or sets it twice",
	},
	"a WorkingDir": {
		change: func(_ *testing.T, f *forgery) { f.config.Config.WorkingDir = "/evil" },
		kaniko: "another WorkingDir than", stream: "another WorkingDir than",
	},
	"a volume": {
		change: func(_ *testing.T, f *forgery) { f.config.Config.Volumes = map[string]struct{}{"/kubedl-model": {}} },
		kaniko: "another Volumes than", stream: "another Volumes than",
	},
	"another platform": {
		change: func(_ *testing.T, f *forgery) { f.config.Architecture = "mips64" },
		kaniko: "is for linux/mips64", stream: "is for linux/mips64",
	},
	"a label": {
		change: func(_ *testing.T, f *forgery) { f.config.Config.Labels["scanned"] = "true" },
		kaniko: "it has the label scanned", stream: "it has the label scanned",
	},
	"another base image in a label": {
		change: func(_ *testing.T, f *forgery) { f.config.Config.Labels["org.opencontainers.image.base.name"] = "good" },
		kaniko: "its label org.opencontainers.image.base.name", stream: "its label org.opencontainers.image.base.name",
	},
	"other content, and files without SHA-256": {
		change: func(t *testing.T, f *forgery) {
			f.spoilWeights(t)
			for i := range f.files.Entries {
				f.files.Entries[i].SHA256 = ""
			}
			f.files.Streamed = false
		},
		kaniko: `no SHA-256 of "config.json"`, stream: `no SHA-256 of "config.json"`,
	},
	"other content": {
		change: func(t *testing.T, f *forgery) { f.spoilWeights(t) },
		kaniko: `holds "kubedl-model/w.bin" with other content`,
	},
	"other content with its SHA-256": {
		change: func(t *testing.T, f *forgery) {
			f.spoilWeights(t)
			for i, e := range f.files.Entries {
				if e.Path == "w.bin" && !f.files.Streamed {
					f.files.Entries[i].SHA256 = strings.Repeat("0", 64)
				}
			}
		},
		kaniko: sourceChanged,
	},
	"another SHA-256": {
		change: func(_ *testing.T, f *forgery) { f.setSHA256("w.bin", strings.Repeat("0", 64)) },
		kaniko: sourceChanged, stream: "the manifest of its files is not that of its layers",
	},
	"one file without SHA-256": {
		change: func(_ *testing.T, f *forgery) { f.setSHA256("w.bin", "") },
		kaniko: `no SHA-256 of "w.bin"`, stream: "the manifest of its files is not that of its layers",
	},
	"a second file under another spelling, ./": {
		change: addToModel(file("./kubedl-model/w.bin", "hostile")), kaniko: `the unusual name "./kubedl-model/w.bin"`,
	},
	"a second file under another spelling, //": {
		change: addToModel(file("kubedl-model//w.bin", "hostile")), kaniko: `the unusual name "kubedl-model//w.bin"`,
	},
	"a second file under another spelling, ..": {
		change: addToModel(file("kubedl-model/x/../w.bin", "hostile")), kaniko: `the unusual name "kubedl-model/x/../w.bin"`,
	},
	"a second file under another spelling, /": {
		change: addToModel(file("/kubedl-model/w.bin", "hostile")), kaniko: `the unusual name "/kubedl-model/w.bin"`,
	},
	"a second file under the same name": {
		change: addToModel(file("kubedl-model/w.bin", "hostile")), kaniko: `holds "kubedl-model/w.bin" twice`,
	},
	"one more file": {
		change: addToModel(file("kubedl-model/x", "")), kaniko: `holds "kubedl-model/x", which no build adds`,
	},
	"a file elsewhere": {
		change: addToModel(file("etc/passwd", "evil")), kaniko: `holds "etc/passwd", which no build adds`,
	},
	"a whiteout of a file": {
		change: addToModel(file("kubedl-model/.wh.config.json", "")), kaniko: "kubedl-model/.wh.config.json",
	},
	"a whiteout of a file of the base image": {
		change: addToModel(file("bin/.wh.sh", "")), kaniko: "bin/.wh.sh",
	},
	"a hard link": {
		change: func(t *testing.T, f *forgery) {
			e := f.entry(t, "kubedl-model/w.bin")
			e.Typeflag, e.Linkname, e.Size, e.content = tar.TypeLink, "kubedl-model/config.json", 0, ""
		},
		kaniko: `holds "kubedl-model/w.bin" with another type`,
	},
	"a symbolic link": {
		change: func(t *testing.T, f *forgery) {
			e := f.entry(t, "kubedl-model/w.bin")
			e.Typeflag, e.Linkname, e.Size, e.content = tar.TypeSymlink, "config.json", 0, ""
		},
		kaniko: `holds "kubedl-model/w.bin" with another type`,
	},
	"a link in the place of the model's directory": {
		change: func(t *testing.T, f *forgery) {
			e := f.entry(t, "kubedl-model/")
			e.Typeflag, e.Linkname, e.Name = tar.TypeSymlink, "tmp", "kubedl-model"
		},
		kaniko: `holds "kubedl-model" with another type`,
	},
	"a mode that sets the user": {
		change: func(t *testing.T, f *forgery) { f.entry(t, "kubedl-model/w.bin").Mode = 0o4644 },
		kaniko: `holds "kubedl-model/w.bin" with another type`,
	},
	"another owner": {
		change: func(t *testing.T, f *forgery) { f.entry(t, "kubedl-model/w.bin").Uid = 1000 },
		kaniko: `holds "kubedl-model/w.bin" with another type`,
	},
	"an extended attribute": {
		change: func(t *testing.T, f *forgery) {
			f.entry(t, "kubedl-model/w.bin").PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "x"}
			f.entry(t, "kubedl-model/w.bin").Format = tar.FormatPAX
		},
		kaniko: `holds "kubedl-model/w.bin" with another type`,
	},
	"a root directory that everyone can write to": {
		change: addToModel(tarEntry{Header: tar.Header{Name: "/", Typeflag: tar.TypeDir, Mode: 0o777}}), kaniko: "which no build adds",
	},
	"a missing file": {
		change: func(_ *testing.T, f *forgery) {
			f.model[0] = slices.DeleteFunc(f.model[0], func(e tarEntry) bool { return e.Name == "kubedl-model/w.bin" })
		},
		kaniko: `lacks "kubedl-model/w.bin"`,
	},
	"a file in the layer of the manifest of files": {
		change: func(_ *testing.T, f *forgery) { f.last = append(f.last, file("kubedl-model/w.bin", "hostile")) },
		kaniko: `holds "kubedl-model/w.bin", which no build adds`, stream: `holds "kubedl-model/w.bin", which no build adds`,
	},
	"a link beside the manifest of files": {
		change: func(_ *testing.T, f *forgery) {
			f.last = slices.DeleteFunc(f.last, func(e tarEntry) bool { return e.Name == "models" })
			f.last = append(f.last, tarEntry{Header: tar.Header{Name: "models", Typeflag: tar.TypeSymlink, Linkname: "tmp"}})
		},
		kaniko: `holds "models" with another type`, stream: `holds "models" with another type`,
	},
	"other counts in the manifest of files": {
		change: func(_ *testing.T, f *forgery) { f.files.Layers[0].Bytes = 1 },
		kaniko: "is not that of its layers", stream: "is not that of its layers",
	},
	"a path twice in the manifest of files": {
		change: func(_ *testing.T, f *forgery) { f.files.Entries = append(f.files.Entries, f.files.Entries[0]) },
		kaniko: "is not that of its layers", stream: "is not that of its layers",
	},
	"a layer with other content than its diffID": {
		change: func(t *testing.T, f *forgery) {
			f.replace = func(number int, l v1.Layer) mutate.Addendum {
				if number != 0 {
					return mutate.Addendum{Layer: l}
				}
				diffID, err := l.DiffID()
				require.NoError(t, err)
				f.spoilWeights(t)
				return mutate.Addendum{Layer: lyingLayer{archiveOf(t, f.model[0]...), diffID}}
			}
		},
		kaniko: `with other content`, stream: "has another digest",
	},
	"a layer in another place than the registry": {
		change: func(_ *testing.T, f *forgery) {
			f.replace = func(number int, l v1.Layer) mutate.Addendum {
				if number != 0 {
					return mutate.Addendum{Layer: l}
				}
				return mutate.Addendum{Layer: l, URLs: []string{"http://example.com/layer"}}
			}
		},
		kaniko: "is not stored as such in the registry", stream: "is not stored as such in the registry",
	},
	"times of other files": {
		change: func(_ *testing.T, f *forgery) {
			f.replace = func(_ int, l v1.Layer) mutate.Addendum {
				return mutate.Addendum{Layer: l, Annotations: map[string]string{modelimage.AnnotationStatDigest: "sha256:0"}}
			}
		},
		kaniko: "it records other modification times", stream: "it records other modification times",
	},
}

// sourceChanged is what is said about an image that claims to be of the same
// ModelVersion, and to have been built from other files.
const sourceChanged = "its files have changed since"

func addToModel(entries ...tarEntry) func(t *testing.T, f *forgery) {
	return func(_ *testing.T, f *forgery) { f.model[0] = append(f.model[0], entries...) }
}

// newForgedPod returns a pod whose tag holds an honest image of a small model.
func newForgedPod(t *testing.T, streams bool) *pod {
	t.Helper()
	p := newPod(t)
	p.base = p.host + "/base/sh:1"
	p.push(t, configured(t, baseOf(t, file("bin/sh", "good")), v1.Config{User: "nonroot", Env: []string{"PATH=/bin"}}), p.base)
	if streams {
		p.streams, p.compression = true, string(v1alpha1.NoCompression)
	}
	p.write(t, "source/config.json", "{}")
	p.write(t, "source/w.bin", "weights")
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	p.recreate(t)
	return p
}

func baseOf(t *testing.T, entries ...tarEntry) v1.Image {
	t.Helper()
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), archiveOf(t, entries...))
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	image, err = mutate.ConfigFile(image, config)
	require.NoError(t, err)
	return image
}

func TestMountCheckRejectsForgedImage(t *testing.T) {
	for engine, streams := range map[string]bool{"Kaniko": false, "Stream": true} {
		t.Run(engine, func(t *testing.T) {
			p := newForgedPod(t, streams)
			honest := p.pull(t)
			for name, tt := range forgeries {
				t.Run(name, func(t *testing.T) {
					p.push(t, honest, p.image())
					forged := p.takeApart(t)
					tt.change(t, forged)
					p.push(t, forged.image(t), p.image())
					want := tt.kaniko
					if streams {
						want = tt.stream
						if want == "" {
							want = sourceChanged
						}
					}

					code, printed := p.mountCheck(t)

					if want == sourceChanged {
						p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, want, code, printed)
						return
					}
					p.assertFailed(t, "mount-check", v1alpha1.ReasonTagTaken, want, code, printed)
					assert.Contains(t, p.report(t).Failure.Message, "crane delete "+p.image())
				})
			}
			t.Run("accepts the same image, taken apart and put together", func(t *testing.T) {
				p.push(t, honest, p.image())
				p.push(t, p.takeApart(t).image(t), p.image())
				code, printed := p.allSteps(t)
				require.Equal(t, exitOK, code, printed)
				assert.True(t, p.report(t).Source.AlreadyPushed)
			})
		})
	}
}
