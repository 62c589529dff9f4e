package step

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestAFileThatChangesDuringTheBuild(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	p.write(t, "source/a", "longer")
	code, printed = p.build(t)
	p.assertFailed(t, "build", v1alpha1.ReasonSourceChanging, `"a" changed while it was packaged`, code, printed)
}

func TestAFolderThatTakesTheSourcesPlaceBetweenTheSteps(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, p *pod){
		"a folder like it": func(t *testing.T, p *pod) {
			require.NoError(t, os.Rename(p.at("source"), p.at("before")))
			require.NoError(t, os.CopyFS(p.at("source"), os.DirFS(p.at("before"))))
		},
		"a link to another": func(t *testing.T, p *pod) {
			require.NoError(t, os.Rename(p.at("source"), p.at("before")))
			p.write(t, "secrets/a", "y")
			require.NoError(t, os.Symlink(p.at("secrets"), p.at("source")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			past := time.Unix(1, 0)
			require.NoError(t, os.Chtimes(p.at("source/a"), past, past))
			code, printed := p.mountCheck(t)
			require.Equal(t, exitDone, code, printed)
			change(t, p)
			require.NoError(t, os.Chtimes(p.at("source/a"), past, past))
			code, printed = p.build(t)
			p.assertFailed(t, "build", v1alpha1.ReasonSourceForbidden, "the claim is another folder than the one that was checked", code, printed)
		})
	}
}

func TestASourceThatChangesAfterItWasPacked(t *testing.T) {
	tests := map[string]struct{ meanwhile, want string }{
		"a file is added":               {meanwhile: "echo > b", want: `"b" changed while`},
		"a file is added further down":  {meanwhile: "echo > sub/b", want: `"sub/b" changed while`},
		"a file is removed":             {meanwhile: "rm a", want: `"a" changed while`},
		"a file is touched":             {meanwhile: "touch -d @1 a", want: `"a" changed while`},
		"a file is written":             {meanwhile: "echo >> a", want: `"a" changed while`},
		"a link leads elsewhere":        {meanwhile: "ln -sfn a link", want: `"link" changed while`},
		"a folder takes a file's place": {meanwhile: "rm a; mkdir a", want: `"a" changed while`},
		"a folder is added":             {meanwhile: "mkdir c", want: `"c" changed while`},
		"a file comes and goes":         {meanwhile: "echo > b; rm b; touch -d @1 .", want: "the model's folder changed while"},
		"a link leads out":              {meanwhile: "ln -s /etc/passwd out", want: `"out" is a symbolic link`},
		"every file is removed":         {meanwhile: "rm a sub/a", want: "no file to package"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			p.write(t, "source/sub/a", "x")
			require.NoError(t, os.Symlink("sub", p.at("source/link")))
			t.Setenv(meanwhile, "cd "+p.at("source")+"; "+tt.meanwhile)
			code, printed := p.mountCheck(t)
			require.Equal(t, exitDone, code, printed)
			code, printed = p.build(t)
			p.assertFailed(t, "build", v1alpha1.ReasonSourceChanging, tt.want, code, printed)
		})
	}
}

// imageWith is an image of one layer with these entries.
func imageWith(t *testing.T, headers ...tar.Header) v1.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		require.NoError(t, w.WriteHeader(&h))
	}
	require.NoError(t, w.Close())
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(b.Bytes(), types.DockerUncompressedLayer))
	require.NoError(t, err)
	return image
}

func TestABaseImageThatHasAModelAlready(t *testing.T) {
	tests := map[string]struct {
		headers []tar.Header
		want    string
	}{
		"an empty folder is taken": {headers: []tar.Header{{Name: "kubedl-model/", Typeflag: tar.TypeDir, Mode: 0o700}}},
		"a file in the folder":     {headers: []tar.Header{{Name: "kubedl-model/a", Typeflag: tar.TypeReg}}, want: "has something at /kubedl-model already"},
		"a file":                   {headers: []tar.Header{{Name: "kubedl-model", Typeflag: tar.TypeReg}}, want: "has something at /kubedl-model already"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			p.base = p.host + "/base/model:1"
			p.put(t, imageWith(t, tt.headers...), p.base)
			code, printed := p.mountCheck(t)
			require.Equal(t, exitDone, code, printed)
			code, printed = p.build(t)
			if tt.want == "" {
				// What is in a folder that the base image has is new, and the
				// folder itself is not: Kaniko archives it all the same.
				require.Equal(t, exitDone, code, printed)
				return
			}
			p.assertFailed(t, "build", v1alpha1.ReasonInvalidSpec, tt.want, code, printed)
		})
	}
}

func TestKServeFindsTheModel(t *testing.T) {
	tests := map[string]struct {
		base []tar.Header
		// link is where /models of the image leads; empty when it is the base
		// image's own.
		link, says string
	}{
		"by a link that takes no byte twice":    {link: "kubedl-model"},
		"not where the base image has a folder": {base: []tar.Header{{Name: "models/mine", Typeflag: tar.TypeReg}}, says: "the base image has something at /models, which stays"},
		"not where the base image has a file":   {base: []tar.Header{{Name: "models", Typeflag: tar.TypeReg}}, says: "the base image has something at /models, which stays"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			if tt.base != nil {
				p.base = p.host + "/base/models:1"
				p.put(t, imageWith(t, tt.base...), p.base)
			}
			code, printed := p.mountCheck(t)
			require.Equal(t, exitDone, code, printed)
			code, printed = p.build(t)
			require.Equal(t, exitDone, code, printed)
			assert.Contains(t, printed, tt.says)
			code, printed = p.statusReport(t)
			require.Equal(t, exitDone, code, printed)
			entries := entriesOf(t, p.pull(t))
			if tt.link == "" {
				assert.NotEqual(t, byte(tar.TypeSymlink), entries["models"].Typeflag)
				assert.Contains(t, entries, tt.base[0].Name, "the base image's own is kept")
				return
			}
			assert.Equal(t, byte(tar.TypeSymlink), entries["models"].Typeflag)
			assert.Equal(t, tt.link, entries["models"].Linkname)
			assert.Equal(t, entries[".modelkiln/manifest.json"].ModTime, entries["models"].ModTime, "it does not depend on when it was built")
		})
	}
}

// entriesOf are the files, folders and links of an image, by name.
func entriesOf(t *testing.T, image v1.Image) map[string]tar.Header {
	t.Helper()
	content := mutate.Extract(image)
	defer func() { _ = content.Close() }()
	entries := map[string]tar.Header{}
	for reader := tar.NewReader(content); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		require.NoError(t, err)
		entries[strings.TrimSuffix(header.Name, "/")] = *header
	}
}

func TestWhatKanikoRunsIsForTheBuildStep(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)

	t.Run("the command alone does nothing", func(t *testing.T) {
		code, printed := p.run(t, "pack", "--layer=0")
		assert.Equal(t, exitFailed, code, printed)
		assert.Contains(t, printed, "ask the build step, which Kaniko runs under: dial unix")
		assert.Nil(t, p.report(t).Failure)
	})
	t.Run("a builder that never runs it has built nothing", func(t *testing.T) {
		p.again(t)
		code, printed := p.run(t, "build", append(p.buildArgs(), "--executor=/bin/true")...)
		p.assertFailed(t, "build", v1alpha1.ReasonVerificationFailed, "the image builder has ended without the model's files", code, printed)
	})
	t.Run("a builder that runs it twice is out of step", func(t *testing.T) {
		p.again(t)
		t.Setenv(fault, faultAsksTwice)
		code, printed := p.build(t)
		p.assertFailed(t, "build", v1alpha1.ReasonBuildFailed, `the command for "0" was run, where "manifest" is next`, code, printed)
	})
}

// A layer is copied while Kaniko is busy with the one before, and fails the
// build when Kaniko asks for it.
func TestAFileThatChangesBeforeItsLayersTurn(t *testing.T) {
	p := newPod(t)
	p.hasTheModel(t)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	p.write(t, "source/weights-1.bin", "shorter")
	code, printed = p.build(t)
	p.assertFailed(t, "build", v1alpha1.ReasonSourceChanging, `"weights-1.bin" changed while it was packaged`, code, printed)
	assert.Contains(t, printed, "layer 1: copied 1 files, 64.0 MiB")
}

func TestABuildEndsWithItsContextWhileItCopies(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	require.NoError(t, os.Truncate(p.at("source/a"), 1<<40))
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	ctx, cancel := context.WithCancel(t.Context())
	out := &endsAt{words: "building ", cancel: cancel}
	code = Main(ctx, append(p.command("build"), p.buildArgs()...), out, out)
	p.assertFailed(t, "build", v1alpha1.ReasonPodLost, "its pod was told to end", code, out.String())
	assert.True(t, p.report(t).Failure.Transient)
}

// endsAt is a log that ends the build when certain words are in it.
type endsAt struct {
	bytes.Buffer
	words  string
	cancel context.CancelFunc
}

func (e *endsAt) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(e.words)) {
		e.cancel()
	}
	return e.Buffer.Write(p)
}
