package registries

import (
	"archive/tar"
	"os"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// large is the size of a file that has a layer of its own.
const large = layerSize + 1<<20

func TestStream(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		base        string
		compression v1alpha1.Compression
		want        types.MediaType
	}{
		"uncompressed":         {base: "library/base:1", compression: v1alpha1.NoCompression, want: types.OCIUncompressedLayer},
		"compressed":           {base: "library/base:1", compression: v1alpha1.Zstd, want: types.OCILayerZStd},
		"without a base image": {compression: v1alpha1.NoCompression, want: types.OCIUncompressedLayer},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forEachRegistry(t, func(t *testing.T, registry string) {
				p := newPod(t, registry)
				p.compression = tt.compression
				if tt.base != "" {
					p.baseImage = registry + "/" + tt.base
					pushImage(t, p.baseImage, v1.Config{Env: []string{"PATH=/bin"}})
				}
				p.write(t, "config.json", `{"layers": 2}`)
				p.write(t, "tokens/模型 à ∞.json", "{}")
				p.write(t, "weights.bin", "")
				require.NoError(t, os.Truncate(p.source("weights.bin"), large))
				require.NoError(t, os.Symlink("weights.bin", p.source("latest.bin")))
				require.NoError(t, os.Mkdir(p.source("empty"), 0o755))

				left, image := p.builds(t)

				model := image.Layers[len(image.Layers)-left.Source.Layers-1]
				assert.Equal(t, tt.want, model.MediaType)
				assert.Contains(t, image.Config.Env, v1alpha1.ModelPathEnv+"="+v1alpha1.ModelPath)
				assert.Equal(t, "resnet-v1", image.Config.Labels[v1alpha1.LabelModelVersion])
				assert.Equal(t, tt.compression == v1alpha1.Zstd, left.Build.SentBytes < left.Source.Bytes/2, "%d bytes were sent", left.Build.SentBytes)
				assert.Zero(t, left.Build.ReusedBytes)
			})
		})
	}
}

// A tar archive needs PAX headers for a file above 8 GiB. A file of zeros takes
// neither disk nor time to upload.
func TestStreamFileAboveEightGibibytes(t *testing.T) {
	t.Parallel()
	const size = 9 << 30
	p := newPod(t, startOpen(t))
	p.compression = v1alpha1.Zstd
	p.write(t, "weights.bin", "")
	require.NoError(t, os.Truncate(p.source("weights.bin"), size))

	left, logs := p.runAll(t)

	require.Nil(t, left.Failure, logs)
	assert.EqualValues(t, size, left.Source.Bytes)
	layers, err := content.Pull(t, p.image()).Layers()
	require.NoError(t, err)
	model, err := layers[len(layers)-2].Uncompressed()
	require.NoError(t, err)
	defer func() { _ = model.Close() }()
	header, err := tar.NewReader(model).Next()
	require.NoError(t, err)
	assert.Equal(t, "kubedl-model/weights.bin", header.Name)
	assert.EqualValues(t, size, header.Size)
}

func TestStreamReuse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		detection v1alpha1.ChangeDetection
		// change changes the weights.
		change func(t *testing.T, p *pod)
		// sent is about how much of the second image is sent.
		sent int64
	}{
		"nothing changed": {
			change: func(*testing.T, *pod) {},
		},
		"a file has other content and its old time": {
			change: func(t *testing.T, p *pod) { p.rewriteWeights(t, time.Time{}) }, sent: large,
		},
		"a file has other content and its old time, which is trusted": {
			detection: v1alpha1.ChangesInModTime,
			change:    func(t *testing.T, p *pod) { p.rewriteWeights(t, time.Time{}) },
		},
		"a file has other content and a new time": {
			detection: v1alpha1.ChangesInModTime,
			change:    func(t *testing.T, p *pod) { p.rewriteWeights(t, time.Now().Add(time.Minute)) }, sent: large,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, startOpen(t))
			if tt.detection != "" {
				p.changeDetection = tt.detection
			}
			content.WriteRandom(t, p.source("embeddings.bin"), large)
			content.WriteRandom(t, p.source("weights.bin"), large)
			p.write(t, "config.json", "{}")
			p.builds(t)
			next := p.next(t)
			tt.change(t, p)

			left, logs := next.runAll(t)

			require.Nil(t, left.Failure, logs)
			assert.InDelta(t, tt.sent, left.Build.SentBytes, 20_000)
			assert.InDelta(t, 2*large-tt.sent, left.Build.ReusedBytes, 20_000)
			if tt.sent > 0 {
				assert.Equal(t, content.OfDirectory(t, p.model), content.OfImage(t, next.image()).Model)
			}
		})
	}
}

// rewriteWeights changes the first bytes of the weights, which keep their
// modification time unless another is given.
func (p *pod) rewriteWeights(t *testing.T, modified time.Time) {
	t.Helper()
	before, err := os.Stat(p.source("weights.bin"))
	require.NoError(t, err)
	if modified.IsZero() {
		modified = before.ModTime()
	}
	file, err := os.OpenFile(p.source("weights.bin"), os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString("other weights")
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.NoError(t, os.Chtimes(p.source("weights.bin"), modified, modified))
}

func TestStreamMount(t *testing.T) {
	t.Parallel()
	forEachRegistry(t, func(t *testing.T, registry string) {
		p := newPod(t, registry)
		content.WriteRandom(t, p.source("weights.bin"), 1<<20)
		p.builds(t)
		next := p.next(t)
		next.repository = "models/resnet-next"

		left, _ := next.builds(t)

		assert.Zero(t, left.Build.SentBytes, "the registry mounts the layers of the other repository")
	})
}

func TestTag(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		// before is done with the tag before the build.
		before func(t *testing.T, p *pod)
		reason string
		says   string
	}{
		"holds another image": {
			before: func(t *testing.T, p *pod) { pushImage(t, p.image(), v1.Config{}) },
			reason: v1alpha1.ReasonTagTaken,
		},
		"holds the image of another ModelVersion": {
			before: func(t *testing.T, p *pod) {
				p.builds(t)
				p.uid, p.version = "another", "bert-v1"
			},
			reason: v1alpha1.ReasonTagTaken, says: `ModelVersion "resnet-v1" of Model "resnet"`,
		},
		"holds an image that claims to be of this ModelVersion": {
			before: func(t *testing.T, p *pod) {
				pushImage(t, p.image(), v1.Config{Labels: map[string]string{v1alpha1.LabelModelVersionUID: p.uid}})
			},
			reason: v1alpha1.ReasonTagTaken, says: "is not what this build would push",
		},
		"holds an earlier ModelVersion of the same name with the same files": {
			before: func(t *testing.T, p *pod) {
				p.builds(t)
				p.uid = "another"
			},
		},
		"holds an earlier ModelVersion of the same name with other files": {
			before: func(t *testing.T, p *pod) {
				p.builds(t)
				p.uid = "another"
				p.write(t, "config.json", `{"layers": 3}`)
			},
			reason: v1alpha1.ReasonTagTaken, says: `"config.json"`,
		},
		"holds the image that an earlier attempt reported": {
			before: func(t *testing.T, p *pod) {
				left, _ := p.builds(t)
				p.known = left.Image.Digest
			},
		},
		"holds the same ModelVersion with other files": {
			before: func(t *testing.T, p *pod) {
				left, _ := p.builds(t)
				p.known = left.Image.Digest
				p.write(t, "config.json", `{"layers": 3}`)
			},
			reason: v1alpha1.ReasonSourceChanged, says: `"config.json"`,
		},
		"holds the same ModelVersion": {
			before: func(t *testing.T, p *pod) { p.builds(t) },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forEachRegistry(t, func(t *testing.T, registry string) {
				p := newPod(t, registry)
				p.write(t, "config.json", `{"layers": 2}`)
				tt.before(t, p)
				before := content.Digest(t, p.image())

				left, logs := p.runAll(t)

				assert.Equal(t, before, content.Digest(t, p.image()))
				if tt.reason == "" {
					require.Nil(t, left.Failure, logs)
					assert.True(t, left.Source.AlreadyPushed)
					assert.Equal(t, before, left.Image.Digest)
					return
				}
				require.NotNil(t, left.Failure, logs)
				assert.Equal(t, tt.reason, left.Failure.Reason, left.Failure.Message)
				assert.Contains(t, left.Failure.Message, tt.says)
			})
		})
	}
}
