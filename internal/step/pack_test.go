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

func TestBuildOfChangedFile(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	p.write(t, "source/a", "longer")
	code, printed = p.build(t)
	p.assertFailed(t, "build", v1alpha1.ReasonSourceChanging, `"a" changed while it was packaged`, code, printed)
}

func TestBuildOfReplacedSource(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, p *pod){
		"a copy of the directory": func(t *testing.T, p *pod) {
			require.NoError(t, os.Rename(p.path("source"), p.path("before")))
			require.NoError(t, os.CopyFS(p.path("source"), os.DirFS(p.path("before"))))
		},
		"a link to another directory": func(t *testing.T, p *pod) {
			require.NoError(t, os.Rename(p.path("source"), p.path("before")))
			p.write(t, "secrets/a", "y")
			require.NoError(t, os.Symlink(p.path("secrets"), p.path("source")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			past := time.Unix(1, 0)
			require.NoError(t, os.Chtimes(p.path("source/a"), past, past))
			code, printed := p.mountCheck(t)
			require.Equal(t, exitOK, code, printed)
			change(t, p)
			require.NoError(t, os.Chtimes(p.path("source/a"), past, past))
			code, printed = p.build(t)
			p.assertFailed(t, "build", v1alpha1.ReasonSourceForbidden, "the claim is not the directory that mount-check checked", code, printed)
		})
	}
}

func TestBuildOfSourceThatChangesAfterCopying(t *testing.T) {
	tests := map[string]struct{ change, want string }{
		"a file is added":                {change: "echo > b", want: `"b" changed while`},
		"a file is added in a directory": {change: "echo > sub/b", want: `"sub/b" changed while`},
		"a file is removed":              {change: "rm a", want: `"a" changed while`},
		"a file is touched":              {change: "touch -d @1 a", want: `"a" changed while`},
		"a file is written":              {change: "echo >> a", want: `"a" changed while`},
		"a link leads elsewhere":         {change: "ln -sfn a link", want: `"link" changed while`},
		"a directory replaces a file":    {change: "rm a; mkdir a", want: `"a" changed while`},
		"a directory is added":           {change: "mkdir c", want: `"c" changed while`},
		"a link leads out":               {change: "ln -s /etc/passwd out", want: `"out" is a symbolic link`},
		"every file is removed":          {change: "rm a sub/a", want: "no file to package"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			p.write(t, "source/sub/a", "x")
			require.NoError(t, os.Symlink("sub", p.path("source/link")))
			t.Setenv(changeScript, "cd "+p.path("source")+"; "+tt.change)
			code, printed := p.mountCheck(t)
			require.Equal(t, exitOK, code, printed)
			code, printed = p.build(t)
			p.assertFailed(t, "build", v1alpha1.ReasonSourceChanging, tt.want, code, printed)
		})
	}
}

// File systems on top of object stores change the time of a directory while they list
// it.
func TestBuildOfDirectoryWhoseTimeChanges(t *testing.T) {
	for engine, newPod := range engines {
		t.Run(engine, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/sub/a", "x")
			code, printed := p.mountCheck(t)
			require.Equal(t, exitOK, code, printed)
			later := time.Now().Add(time.Hour)
			require.NoError(t, os.Chtimes(p.path("source"), later, later))
			require.NoError(t, os.Chtimes(p.path("source/sub"), later, later))

			code, printed = p.build(t)
			require.Equal(t, exitOK, code, printed)
			code, printed = p.statusReport(t)
			require.Equal(t, exitOK, code, printed)
		})
	}
}

// imageWith returns an image of one layer with these entries.
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

func TestBuildOnBaseImageWithModelDir(t *testing.T) {
	tests := map[string]struct {
		headers []tar.Header
		want    string
	}{
		"an empty directory":      {headers: []tar.Header{{Name: "kubedl-model/", Typeflag: tar.TypeDir, Mode: 0o700}}},
		"a directory with a file": {headers: []tar.Header{{Name: "kubedl-model/a", Typeflag: tar.TypeReg}}, want: "already has files at /kubedl-model"},
		"a file":                  {headers: []tar.Header{{Name: "kubedl-model", Typeflag: tar.TypeReg}}, want: "already has files at /kubedl-model"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			p.base = p.host + "/base/model:1"
			p.push(t, imageWith(t, tt.headers...), p.base)
			code, printed := p.allSteps(t)
			if tt.want == "" {
				// Kaniko archives the directory of the base image too, since it has
				// new content.
				require.Equal(t, exitOK, code, printed)
				return
			}
			p.assertFailed(t, "mount-check", v1alpha1.ReasonInvalidSpec, tt.want, code, printed)
		})
	}
}

func TestBuildLinksForKServe(t *testing.T) {
	tests := map[string]struct {
		base []tar.Header
		// link is the target of /models in the image; empty if the base image's
		// is kept.
		link, log string
	}{
		"a base image without /models":        {link: "kubedl-model"},
		"a base image with a directory there": {base: []tar.Header{{Name: "models/mine", Typeflag: tar.TypeReg}}, log: "the base image already has /models, which is kept"},
		"a base image with a file there":      {base: []tar.Header{{Name: "models", Typeflag: tar.TypeReg}}, log: "the base image already has /models, which is kept"},
	}
	for engine, newPod := range map[string]func(*testing.T) *pod{"Kaniko": newPod, "Stream": newStreamingPod} {
		for name, tt := range tests {
			t.Run(name+", "+engine, func(t *testing.T) {
				p := newPod(t)
				p.write(t, "source/a", "x")
				if tt.base != nil {
					p.base = p.host + "/base/models:1"
					p.push(t, imageWith(t, tt.base...), p.base)
				}
				code, printed := p.mountCheck(t)
				require.Equal(t, exitOK, code, printed)
				assert.Contains(t, printed, tt.log)
				code, printed = p.build(t)
				require.Equal(t, exitOK, code, printed)
				code, printed = p.statusReport(t)
				require.Equal(t, exitOK, code, printed)
				entries := entriesOf(t, p.pull(t))
				if tt.link == "" {
					assert.NotEqual(t, byte(tar.TypeSymlink), entries["models"].Typeflag)
					assert.Contains(t, entries, tt.base[0].Name, "the base image's files are kept")
					return
				}
				assert.Equal(t, byte(tar.TypeSymlink), entries["models"].Typeflag)
				assert.Equal(t, tt.link, entries["models"].Linkname)
				assert.Equal(t, entries[".modelkiln/manifest.json"].ModTime, entries["models"].ModTime, "it does not depend on the time of the build")
			})
		}
	}
}

// entriesOf returns the files, directories and links of an image by name.
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

func TestPack(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)

	t.Run("fails without the build step", func(t *testing.T) {
		code, printed := p.run(t, "pack", "--layer=0")
		assert.Equal(t, exitFailed, code, printed)
		assert.Contains(t, printed, "connect to the build step, which has to be running: dial unix")
		assert.Nil(t, p.report(t).Failure)
	})
	t.Run("fails the build if Kaniko does not run it", func(t *testing.T) {
		p.recreate(t)
		code, printed := p.run(t, "build", append(p.buildArgs(), "--executor=/bin/true")...)
		p.assertFailed(t, "build", v1alpha1.ReasonVerificationFailed, "the image builder ended without adding all files of the model", code, printed)
	})
	t.Run("fails the build if Kaniko runs it twice", func(t *testing.T) {
		p.recreate(t)
		t.Setenv(fault, faultPacksTwice)
		code, printed := p.build(t)
		p.assertFailed(t, "build", v1alpha1.ReasonBuildFailed, `the command for "0" ran when "finish" was next`, code, printed)
	})
}

// A layer is copied while Kaniko archives the one before. If that fails, the build
// fails when Kaniko requests the layer.
func TestBuildOfFileThatChangesBeforeItsLayer(t *testing.T) {
	p := newPod(t)
	p.writeModel(t)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	p.write(t, "source/weights-1.bin", "shorter")
	code, printed = p.build(t)
	p.assertFailed(t, "build", v1alpha1.ReasonSourceChanging, `"weights-1.bin" changed while it was packaged`, code, printed)
	assert.Contains(t, printed, "layer 1: copied 1 file, 1.0 MiB")
}

func TestBuildTerminatedWhileCopying(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	require.NoError(t, os.Truncate(p.path("source/a"), 1<<40))
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	ctx, cancel := context.WithCancel(t.Context())
	out := &cancelingLog{text: "building ", cancel: cancel}
	code = Main(ctx, append(p.command("build"), p.buildArgs()...), out, out)
	p.assertFailed(t, "build", v1alpha1.ReasonPodLost, "the pod was terminated", code, out.String())
	assert.True(t, p.report(t).Failure.Transient)
}

// cancelingLog cancels a context when a text is logged.
type cancelingLog struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (l *cancelingLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(l.text)) {
		l.cancel()
	}
	return l.Buffer.Write(p)
}
