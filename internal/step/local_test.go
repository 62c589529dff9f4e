package step

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// newLocal returns a build of a small model to the registry of a pod.
func newLocal(t *testing.T) (*pod, Local) {
	t.Helper()
	p := newPod(t)
	p.write(t, "source/config.json", "{}")
	p.write(t, "source/w.bin", "weights")
	return p, Local{Directory: p.path("source"), Image: p.image(), BaseImage: "scratch", Model: "resnet", Registry: registry.Config{PlainHTTP: []string{p.host}}}
}

func TestLocal(t *testing.T) {
	p, l := newLocal(t)
	log := &bytes.Buffer{}
	first, err := l.Build(t.Context(), log)
	require.NoError(t, err, log)
	assert.Equal(t, int64(2), first.Source.Files)
	assert.Contains(t, log.String(), "the directory "+l.Directory+" holds 2 files")
	ref, err := name.ParseReference(p.image(), name.Insecure)
	require.NoError(t, err)
	pushed, err := remote.Head(ref)
	require.NoError(t, err)
	assert.Equal(t, pushed.Digest.String(), first.Image.Digest)
	assert.Positive(t, first.Build.SentBytes)

	again, err := l.Build(t.Context(), log)
	require.NoError(t, err)
	assert.True(t, again.Source.AlreadyPushed, "the same files are not pushed again")
	assert.Equal(t, first.Image.Digest, again.Image.Digest)

	p.write(t, "source/w.bin", "WEIGHTS")
	_, err = l.Build(t.Context(), log)
	var f *failure.Error
	require.ErrorAs(t, err, &f)
	assert.Equal(t, v1alpha1.ReasonSourceChanged, f.Reason)
	assert.Contains(t, f.Message, "a pushed tag is never overwritten")
}

// The steps of a pod and those of a user's machine build the same layers.
func TestLocal_sameLayersAsInPod(t *testing.T) {
	p, l := newLocal(t)
	p.streams = true
	require.NoError(t, os.Chmod(filepath.Join(l.Directory, "w.bin"), 0o644))
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	l.Image = p.host + "/" + p.repo + ":local"
	_, err := l.Build(t.Context(), &bytes.Buffer{})
	require.NoError(t, err)
	layers := func(reference string) []string {
		ref, err := name.ParseReference(reference, name.Insecure)
		require.NoError(t, err)
		image, err := remote.Image(ref)
		require.NoError(t, err)
		manifest, err := image.Manifest()
		require.NoError(t, err)
		var digests []string
		for _, layer := range manifest.Layers {
			digests = append(digests, layer.Digest.String())
		}
		return digests
	}
	assert.Equal(t, layers(p.image()), layers(l.Image))
}

func TestLocal_failures(t *testing.T) {
	tests := map[string]struct {
		change  func(t *testing.T, p *pod, l *Local)
		reason  string
		message string
	}{
		"no directory": {func(_ *testing.T, _ *pod, l *Local) { l.Directory += "/no" }, v1alpha1.ReasonSourceMissing, "/no does not exist"},
		"a file":       {func(_ *testing.T, _ *pod, l *Local) { l.Directory += "/w.bin" }, v1alpha1.ReasonSourceNotDirectory, "is not a directory"},
		"incomplete":   {func(t *testing.T, p *pod, _ *Local) { p.write(t, "source/model.safetensors", "x") }, v1alpha1.ReasonSourceIncomplete, "set --completeness-check=Skip"},
		"no patterns":  {func(_ *testing.T, _ *pod, l *Local) { l.Patterns.Include = []string{"*.gguf"} }, v1alpha1.ReasonSourceEmpty, "--include, --exclude and .modelkilnignore"},
		"system path":  {func(_ *testing.T, _ *pod, l *Local) { l.ModelPath = "/etc" }, v1alpha1.ReasonInvalidSpec, "--model-path must not be in /etc"},
		"no registry": {func(_ *testing.T, _ *pod, l *Local) {
			l.Image = "127.0.0.1:1/m:v1"
			l.Registry.PlainHTTP = []string{"127.0.0.1:1"}
		}, v1alpha1.ReasonRegistryUnreachable, "127.0.0.1:1"},
		"no base image": {func(_ *testing.T, p *pod, l *Local) { l.BaseImage = p.host + "/no:v1" }, v1alpha1.ReasonBuildFailed, "correct it in --base-image"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, l := newLocal(t)
			tt.change(t, p, &l)
			_, err := l.Build(t.Context(), &bytes.Buffer{})
			var f *failure.Error
			require.ErrorAs(t, err, &f)
			assert.Equal(t, tt.reason, f.Reason)
			assert.Contains(t, f.Message, tt.message)
			assert.NotContains(t, f.Message, "spec.")
		})
	}
}

func TestLocal_interrupted(t *testing.T) {
	_, l := newLocal(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Build(ctx, &bytes.Buffer{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestInFlags(t *testing.T) {
	for message, want := range map[string]string{
		"set spec.build.completenessCheck: Skip":        "set --completeness-check=Skip",
		`set spec.build.exclude: [".git/"]`:             `set --exclude: [".git/"]`,
		"choose another imageTag, or correct imageRepo": "choose another tag, or correct REPOSITORY",
		"cannot be resolved in the cluster's DNS":       "cannot be resolved in the DNS",
		"nothing to say": "nothing to say",
	} {
		assert.Equal(t, want, inFlags(message))
	}
}
