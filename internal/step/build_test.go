package step

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

func TestBuild(t *testing.T) {
	p := newPod(t)
	p.writeModel(t)
	require.NoError(t, syscall.Mkfifo(p.path("source/pipe"), 0o600))
	p.base = p.host + "/base/nonroot:1"
	p.push(t, configured(t, randomImage(t), v1.Config{User: "nonroot", Env: []string{"PATH=/bin"}}), p.base)

	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "the claim holds 8 files, 2.0 MiB")
	assert.Contains(t, printed, "skipped 1 special file: ")
	assert.Contains(t, printed, "Secret regcred does not exist: the push is anonymous")
	program, err := os.Stat(p.path("kiln/modelkiln-step"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o755), program.Mode().Perm())

	code, printed = p.build(t)
	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "layer 1: copied 1 file, 1.0 MiB")
	assert.Contains(t, printed, "layer 2: Kaniko archived it completely")
	assert.Contains(t, printed, "; its 3 layers hold all 8 files")

	code, printed = p.statusReport(t)
	require.Equal(t, exitOK, code, printed)

	r := p.report(t)
	assert.Equal(t, report.Run{WorkflowUID: "wf-1", ModelVersionUID: versionUID, Image: p.image()}, r.Run)
	assert.Equal(t, &report.Source{Files: 8, Bytes: 2*layerSize + 1 + 2 + 2 + 3 + 4 + 10 + 10, Layers: 3, Skipped: 1}, r.Source)
	assert.Nil(t, r.Failure)
	image := p.pull(t)
	digest, err := image.Digest()
	require.NoError(t, err)
	assert.Equal(t, digest.String(), r.Image.Digest)
	assert.Equal(t, p.image(), r.Image.Reference)
	assert.Equal(t, 5, r.Image.Layers)

	config, err := image.ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, []string{"PATH=/bin", "KUBEDL_MODEL_PATH=/kubedl-model"}, config.Config.Env)
	assert.Equal(t, "nonroot", config.Config.User)
	assert.Equal(t, `Ann O'Hara "$HOME"`, config.Config.Labels["org.opencontainers.image.authors"])
	assert.Equal(t, versionUID, config.Config.Labels[v1alpha1.LabelModelVersionUID])
	assert.Equal(t, p.base, config.Config.Labels["org.opencontainers.image.base.name"])
	p.assertHoldsSource(t, image)
}

// writeModel writes a model with unusual names, modes and links.
func (p *pod) writeModel(t *testing.T) {
	t.Helper()
	p.write(t, "source/config.json", "{}")
	p.write(t, "source/.dockerignore", "*\n")
	p.write(t, "source/a b/$HOME [x]*?", "odd")
	p.write(t, "source/a b/"+strings.Repeat("ä", 100)+"\n", "long")
	p.write(t, "source/run.sh", "#!/bin/sh\n")
	p.write(t, "source/Dockerfile", "FROM evil\n")
	require.NoError(t, os.Chmod(p.path("source/run.sh"), 0o700))
	require.NoError(t, os.Mkdir(p.path("source/empty"), 0o700))
	require.NoError(t, os.Symlink("../config.json", p.path("source/a b/link")))
	for i := range 2 {
		path := fmt.Sprintf("source/weights-%d.bin", i)
		p.write(t, path, fmt.Sprintf("weights %d", i))
		require.NoError(t, os.Truncate(p.path(path), layerSize+int64(i)))
	}
	long := time.Date(2020, 2, 3, 4, 5, 6, 789, time.UTC)
	require.NoError(t, filepath.WalkDir(p.path("source"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() == fs.ModeSymlink {
			return err
		}
		return os.Chtimes(path, long, long)
	}))
}

// assertHoldsSource asserts that the model in an image is the source.
func (p *pod) assertHoldsSource(t *testing.T, image v1.Image) {
	t.Helper()
	content := mutate.Extract(image)
	defer func() { _ = content.Close() }()
	entries := tar.NewReader(content)
	seen := map[string]bool{}
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		path, inModel := strings.CutPrefix(strings.TrimSuffix(header.Name, "/"), "kubedl-model")
		if !inModel || strings.HasSuffix(path, "/.wh..wh..opq") {
			continue
		}
		seen[path] = true
		from := filepath.Join(p.path("source"), path)
		info, err := os.Lstat(from)
		require.NoError(t, err)
		modTime := info.ModTime().UnixNano()
		if p.streams {
			// Stream does not keep times, so that copies of the files give the same image.
			modTime = 0
		}
		assert.Equal(t, modTime, header.ModTime.UnixNano(), path)
		assert.Zero(t, header.Uid, path)
		assert.Zero(t, header.Gid, path)
		switch {
		case info.IsDir():
			assert.Equal(t, int64(0o755), header.Mode&0o7777, path)
		case info.Mode().IsRegular():
			want := int64(0o644)
			if strings.HasSuffix(path, ".sh") {
				want = 0o755
			}
			assert.Equal(t, want, header.Mode&0o7777, path)
			assertSameContent(t, from, entries)
		default:
			target, err := os.Readlink(from)
			require.NoError(t, err)
			assert.Equal(t, target, header.Linkname)
		}
	}
	require.NoError(t, filepath.WalkDir(p.path("source"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type() != fs.ModeNamedPipe {
			assert.True(t, seen[strings.TrimPrefix(path, p.path("source"))], path)
		}
		return err
	}))
}

func assertSameContent(t *testing.T, file string, got io.Reader) {
	t.Helper()
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	content, err := io.ReadAll(got)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, content), file)
}

func TestBuildOfPushedVersion(t *testing.T) {
	p := newBuiltPod(t)
	want := p.report(t).Image
	later := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(p.path("source/w.bin"), later, later))

	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "the files are the same")
	r := p.report(t)
	assert.True(t, r.Source.AlreadyPushed)
	assert.Nil(t, r.Image, "the report of the earlier attempt is replaced")

	t.Setenv(fault, faultRejected)
	code, printed = p.build(t)
	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "nothing to build")

	code, printed = p.statusReport(t)
	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, want, p.report(t).Image)
	assert.Contains(t, printed, "verified, already in the registry: ")
}

func TestStepsOutOfOrder(t *testing.T) {
	p := newPod(t)
	code, printed := p.build(t)
	p.assertFailed(t, "build", v1alpha1.ReasonBuildFailed, "read the output of an earlier step", code, printed)
	code, printed = p.statusReport(t)
	p.assertFailed(t, "status-report", v1alpha1.ReasonBuildFailed, "there is nothing to verify", code, printed)
}

func TestBuildWritesManifest(t *testing.T) {
	p := newBuiltPod(t)
	manifest, err := modelimage.ReadManifest(p.pull(t))
	require.NoError(t, err)
	config, err := p.pull(t).ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, []layer.BuiltLayer{{DiffID: config.RootFS.DiffIDs[0].String(), Files: 2, Bytes: 9}}, manifest.Layers)
	raw, err := json.Marshal(manifest.Entries)
	require.NoError(t, err)
	assert.JSONEq(t, `[
		{"path": ".", "type": "dir", "mode": "0755"},
		{"path": "config.json", "type": "file", "size": 2, "mode": "0644", "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		{"path": "w.bin", "type": "file", "size": 7, "mode": "0644", "sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"}
	]`, string(raw))
}

// The user of the base image reaches the image's config, and no Dockerfile.
func TestBuildKeepsUnusualUserOfBaseImage(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	p.base = p.host + "/base/odd:1"
	p.push(t, configured(t, randomImage(t), v1.Config{User: "a\nRUN id"}), p.base)
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	config, err := p.pull(t).ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, "a\nRUN id", config.Config.User)
	dockerfile, err := os.ReadFile(p.path("kiln/context/Dockerfile"))
	require.NoError(t, err)
	assert.NotContains(t, string(dockerfile), "RUN id")
}
