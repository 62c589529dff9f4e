package step

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestMountCheckRejectsChangedFiles(t *testing.T) {
	changes := map[string]struct {
		change func(t *testing.T, p *pod)
		want   string
	}{
		"other content of the same size": {change: func(t *testing.T, p *pod) { p.write(t, "source/w.bin", "WEIGHTS") }, want: `since ("w.bin" `},
		"one more file":                  {change: func(t *testing.T, p *pod) { p.write(t, "source/x", "") }, want: `since ("x" `},
		"one file less":                  {change: func(t *testing.T, p *pod) { require.NoError(t, os.Remove(p.path("source/w.bin"))) }, want: `since ("w.bin" `},
		"another mode":                   {change: func(t *testing.T, p *pod) { require.NoError(t, os.Chmod(p.path("source/w.bin"), 0o700)) }, want: `since ("w.bin" `},
	}
	for name, tt := range changes {
		t.Run(name, func(t *testing.T) {
			p := newBuiltPod(t)
			p.known = p.digest(t)
			tt.change(t, p)
			code, printed := p.mountCheck(t)
			p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, tt.want, code, printed)
		})
	}
}

func TestMountCheckRejectsTakenTag(t *testing.T) {
	ours := v1.Config{Labels: map[string]string{v1alpha1.LabelModelVersionUID: versionUID}}
	tests := map[string]struct {
		uid  string
		push func(t *testing.T, p *pod)
		want string
	}{
		"an image without labels": {
			uid: versionUID, want: "already holds an image that names no ModelVersion; tags are never overwritten: choose another imageTag or, if nobody needs that image, delete it with crane delete 127.0.0.1",
			push: func(t *testing.T, p *pod) { p.push(t, randomImage(t), p.image()) },
		},
		"an image of another ModelVersion": {
			uid: versionUID, want: `already holds an image with the labels of ModelVersion "bert [31m" of Model "models", UID "123"; tags`,
			push: func(t *testing.T, p *pod) {
				p.push(t, configured(t, randomImage(t), v1.Config{Labels: map[string]string{
					v1alpha1.LabelModelName: "models", v1alpha1.LabelModelVersion: "bert\n\x1b[31m", v1alpha1.LabelModelVersionUID: "123",
				}}), p.image())
			},
		},
		"an image with long labels": {
			uid: versionUID, want: strings.Repeat("x", 62) + `…" of Model`,
			push: func(t *testing.T, p *pod) {
				p.push(t, configured(t, randomImage(t), v1.Config{Labels: map[string]string{v1alpha1.LabelModelVersion: strings.Repeat("x", 10_000)}}), p.image())
			},
		},
		"a build without a ModelVersion": {
			uid: "", want: "already holds an image that names no ModelVersion",
			push: func(t *testing.T, p *pod) { p.push(t, randomImage(t), p.image()) },
		},
		"an image of this ModelVersion without a manifest": {
			uid: versionUID, want: "is not what this build would push: it lacks the manifest of the model's files",
			push: func(t *testing.T, p *pod) { p.push(t, configured(t, randomImage(t), ours), p.image()) },
		},
		"an image of this ModelVersion without layers": {
			uid: versionUID, want: "is not what this build would push: it lacks the manifest of the model's files",
			push: func(t *testing.T, p *pod) { p.push(t, configured(t, empty.Image, ours), p.image()) },
		},
		"an artifact": {
			uid: versionUID, want: "already holds something that is not an image that a build pushes",
			push: func(t *testing.T, p *pod) {
				p.push(t, mutate.ConfigMediaType(randomImage(t), "application/vnd.cncf.helm.config.v1+json"), p.image())
			},
		},
		"an image with a config that cannot be decoded": {
			uid: versionUID, want: "already holds something that is not an image that a build pushes",
			push: func(t *testing.T, p *pod) { p.push(t, rawConfig{randomImage(t), "{"}, p.image()) },
		},
		"an image with a huge config": {
			uid: versionUID, want: "already holds something that is not an image that a build pushes",
			push: func(t *testing.T, p *pod) {
				p.push(t, rawConfig{randomImage(t), `{"author": "` + strings.Repeat("x", 4<<20) + `"}`}, p.image())
			},
		},
		"an index": {
			uid: versionUID, want: "already holds something that is not an image that a build pushes",
			push: func(t *testing.T, p *pod) {
				index, err := random.Index(10, 1, 2)
				require.NoError(t, err)
				ref, err := name.ParseReference(p.image(), name.Insecure)
				require.NoError(t, err)
				require.NoError(t, remote.WriteIndex(ref, index))
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.uid = tt.uid
			p.write(t, "source/a", "x")
			tt.push(t, p)
			code, printed := p.mountCheck(t)
			p.assertFailed(t, "mount-check", v1alpha1.ReasonTagTaken, tt.want, code, printed)
		})
	}
}

// rawConfig is an image with another config.
type rawConfig struct {
	v1.Image
	config string
}

func (r rawConfig) RawConfigFile() ([]byte, error) { return []byte(r.config), nil }

func (r rawConfig) ConfigName() (v1.Hash, error) {
	hash, _, err := v1.SHA256(strings.NewReader(r.config))
	return hash, err
}

func (r rawConfig) Manifest() (*v1.Manifest, error) {
	manifest, err := r.Image.Manifest()
	if err != nil {
		return nil, err
	}
	manifest = manifest.DeepCopy()
	manifest.Config.Size = int64(len(r.config))
	manifest.Config.Digest, err = r.ConfigName()
	return manifest, err
}

func (r rawConfig) RawManifest() ([]byte, error) {
	manifest, err := r.Manifest()
	if err != nil {
		return nil, err
	}
	return json.Marshal(manifest)
}

func (r rawConfig) Digest() (v1.Hash, error) { return partial.Digest(r) }

func (r rawConfig) Size() (int64, error) { return partial.Size(r) }

// A build can take hours, and the tag is free only at its start.
func TestBuildRefusesTagThatWasTakenMeanwhile(t *testing.T) {
	for engine, newPod := range engines {
		t.Run(engine, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/w.bin", "weights")
			code, printed := p.mountCheck(t)
			require.Equal(t, exitOK, code, printed)
			p.push(t, randomImage(t), p.image())
			other := p.digest(t)

			code, printed = p.build(t)

			p.assertFailed(t, "build", v1alpha1.ReasonTagTaken, "someone pushed another image to the tag v1 during the build; tags are never overwritten: choose another imageTag or, if nobody needs that image, delete it with crane delete "+p.image(), code, printed)
			assert.Equal(t, other, p.digest(t))
		})
	}
}
