//go:build e2e

package e2e

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/registries/content"
)

// Names that mean something to a shell, to Kaniko, in a Dockerfile or to Argo.
var strangeNames = []string{
	"$HOME", "${PATH}", "$(id)", "`id`", "%s%n", "{{workflow.name}}", "{{=1+1}}", "[a-z]*?", "*",
	"name with spaces", `"double" and 'single' quotes`, `back\slash`, "semi;colon&&and|pipe",
	"line\nbreak", "tab\tand\rreturn", "-rf", "--help", "#comment", "~", "ünïcödé–名前",
	"RUN id", "COPY", ".hidden", "...", ".dockerignore", "Dockerfile", ".git/config", "a:b@c",
	"directory with $HOME/and `id`/in it",
}

func TestFileNamesAndModes(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newDirectory(t)
	want := map[string]content.Entry{".": content.Directory}
	put := func(name, text string, becomes content.Entry) {
		dir.write(t, name, text)
		want[name] = becomes
	}
	for _, name := range strangeNames {
		put(name, "content of "+name, content.File("content of "+name))
	}
	put(".dockerignore", "*\n", content.File("*\n"))
	put("Dockerfile", "FROM scratch\nRUN id\n", content.File("FROM scratch\nRUN id\n"))
	for _, name := range []string{".git", "directory with $HOME", "directory with $HOME/and `id`"} {
		want[name] = content.Directory
	}

	put("private", "for its owner", content.File("for its owner"))
	put("nobody's", "", content.File(""))
	put("setuid", "#!/bin/sh\n", content.Executable("#!/bin/sh\n"))
	put("of another user", "x", content.File("x"))
	for name, mode := range map[string]uint32{"private": 0o600, "nobody's": 0, "setuid": 0o4711} {
		require.NoError(t, syscall.Chmod(dir.at(name), mode))
	}
	require.NoError(t, os.Chown(dir.at("of another user"), 12345, 54321))

	require.NoError(t, os.MkdirAll(dir.at("empty/below/below"), 0o700))
	want["empty"], want["empty/below"], want["empty/below/below"] = content.Directory, content.Directory, content.Directory
	for name, target := range map[string]string{"link": "private", "empty/link up": "../$HOME", "link to a directory": "empty/below", "link to a link": "link"} {
		require.NoError(t, os.Symlink(target, dir.at(name)))
		want[name] = content.Symlink(target)
	}
	require.NoError(t, os.Link(dir.at("private"), dir.at("second name")))
	want["second name"] = content.File("for its owner")

	// The build leaves out what has no content or belongs to the file system.
	require.NoError(t, syscall.Mknod(dir.at("socket"), syscall.S_IFSOCK|0o644, 0))
	require.NoError(t, syscall.Mkfifo(dir.at("pipe"), 0o644))
	dir.write(t, "lost+found/#1", "of the disk")
	dir.write(t, "empty/lost+found/kept", "not of the disk")
	want["empty/lost+found"], want["empty/lost+found/kept"] = content.Directory, content.File("not of the disk")

	mv := live.built(t, makeVersion("strange", ns, dir).CreatedBy(`$(id) "x" {{workflow.name}} 'y' \ é`).New())

	img := content.OfImage(t, mv.Status.Image)
	assert.Equal(t, want, img.Model)
	assert.Equal(t, img.Digest, mv.Status.Digest)
	assert.Equal(t, `$(id) "x" {{workflow.name}} 'y' \ é`, img.Config.Labels["model.kubedl.io/created-by"])
	assertNothingElse(t, img)
}

// assertNothingElse checks that an image holds nothing but its base image, the
// model, Modelkiln's record of it, and the link to it for KServe.
func assertNothingElse(t *testing.T, img content.Image) {
	t.Helper()
	want := content.OfImage(t, live.registry+"/library/busybox:1.37").Others
	want["/.modelkiln"] = content.Directory
	record := img.Others["/.modelkiln/manifest.json"]
	assert.Equal(t, int64(0o644), record.Mode)
	want["/.modelkiln/manifest.json"] = record
	want["/models"] = content.Symlink("kubedl-model")
	// Archives may have an entry for the root directory.
	delete(want, "/")
	delete(img.Others, "/")
	assert.Equal(t, want, img.Others)
}
