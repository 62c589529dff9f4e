//go:build e2e

package e2e

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Names that mean something to a shell, to Kaniko, to a Dockerfile or to Argo.
var strangeNames = []string{
	"$HOME", "${PATH}", "$(id)", "`id`", "%s%n", "{{workflow.name}}", "{{=1+1}}", "[a-z]*?", "*",
	"name with spaces", `"double" and 'single' quotes`, `back\slash`, "semi;colon&&and|pipe",
	"line\nbreak", "tab\tand\rreturn", "-rf", "--help", "#comment", "~", "ünïcödé–名前",
	"RUN id", "COPY", ".hidden", "...", ".dockerignore", "Dockerfile", ".git/config", "a:b@c",
	"folder with $HOME/and `id`/in it",
}

func TestAModelWithStrangeNamesAndModesArrivesAsItIs(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newFolder(t)
	want := map[string]entry{".": aFolder}
	put := func(name, content string, becomes entry) {
		dir.write(t, name, content)
		want[name] = becomes
	}
	for _, name := range strangeNames {
		put(name, "content of "+name, aFile("content of "+name))
	}
	put(".dockerignore", "*\n", aFile("*\n"))
	put("Dockerfile", "FROM scratch\nRUN id\n", aFile("FROM scratch\nRUN id\n"))
	for _, name := range []string{".git", "folder with $HOME", "folder with $HOME/and `id`"} {
		want[name] = aFolder
	}

	put("private", "for its owner", aFile("for its owner"))
	put("nobody's", "", aFile(""))
	put("setuid", "#!/bin/sh\n", aProgram("#!/bin/sh\n"))
	put("of another user", "x", aFile("x"))
	for name, mode := range map[string]uint32{"private": 0o600, "nobody's": 0, "setuid": 0o4711} {
		require.NoError(t, syscall.Chmod(dir.at(name), mode))
	}
	require.NoError(t, os.Chown(dir.at("of another user"), 12345, 54321))

	require.NoError(t, os.MkdirAll(dir.at("empty/below/below"), 0o700))
	want["empty"], want["empty/below"], want["empty/below/below"] = aFolder, aFolder, aFolder
	for name, target := range map[string]string{"link": "private", "empty/link up": "../$HOME", "link to a folder": "empty/below", "link to a link": "link"} {
		require.NoError(t, os.Symlink(target, dir.at(name)))
		want[name] = aLink(target)
	}
	require.NoError(t, os.Link(dir.at("private"), dir.at("second name")))
	want["second name"] = aFile("for its owner")

	// What has no content, or belongs to the disk, is left out.
	require.NoError(t, syscall.Mknod(dir.at("socket"), syscall.S_IFSOCK|0o644, 0))
	require.NoError(t, syscall.Mkfifo(dir.at("pipe"), 0o644))
	dir.write(t, "lost+found/#1", "of the disk")
	dir.write(t, "empty/lost+found/kept", "not of the disk")
	want["empty/lost+found"], want["empty/lost+found/kept"] = aFolder, aFile("not of the disk")

	mv := live.built(t, makeVersion("strange", ns, dir).CreatedBy(`$(id) "x" {{workflow.name}} 'y' \ é`).New())

	img := pull(t, mv.Status.Image)
	assert.Equal(t, want, img.model)
	assert.Equal(t, img.digest, mv.Status.Digest)
	assert.Equal(t, `$(id) "x" {{workflow.name}} 'y' \ é`, img.config.Labels["model.kubedl.io/created-by"])
	assertNothingBeside(t, img)
}

// assertNothingBeside checks that an image holds nothing but its base image, a
// model, Modelkiln's record of it, and KServe's link to it.
func assertNothingBeside(t *testing.T, img image) {
	t.Helper()
	want := pull(t, live.registry+"/library/busybox:1.37").others
	want["/.modelkiln"] = aFolder
	record := img.others["/.modelkiln/manifest.json"]
	assert.Equal(t, int64(0o644), record.Mode)
	want["/.modelkiln/manifest.json"] = record
	want["/models"] = aLink("kubedl-model")
	// Archives may name the folder that everything is in.
	delete(want, "/")
	delete(img.others, "/")
	assert.Equal(t, want, img.others)
}

func TestLargeFilesHaveLayersOfTheirOwn(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	const large = 110 << 20
	dir.random(t, "shards/1.bin", large)
	dir.random(t, "shards/2.bin", large)

	mv := live.built(t, makeVersion("large", ns, dir).New())

	img := holds(t, mv, dir)
	own := 0
	for _, layer := range img.layers {
		if layer.Size >= large {
			own++
		}
		assert.Less(t, layer.Size, int64(2*large), "no layer holds both")
	}
	assert.Equal(t, 2, own, "layers: %v", img.layers)
	assert.Equal(t, int64(4), mv.Status.Files)
}

func TestAModelThatAnImageCannotHoldIsRefused(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	tests := map[string]struct {
		spoil func(dir folder) error
		names string
	}{
		"a link that leads out":             {func(dir folder) error { return os.Symlink("../outside", dir.at("out")) }, `"out"`},
		"an absolute link":                  {func(dir folder) error { return os.Symlink(dir.at("config.json"), dir.at("absolute")) }, `"absolute"`},
		"a link to nothing":                 {func(dir folder) error { return os.Symlink("nowhere", dir.at("dangling")) }, `"dangling"`},
		"a name that means a deleted file":  {func(dir folder) error { return os.WriteFile(dir.at(".wh.config.json"), nil, 0o644) }, `".wh.config.json"`},
		"a name that is no text":            {func(dir folder) error { return os.WriteFile(dir.at("a\xff"), nil, 0o644) }, `"a\xff"`},
		"a link to what is left out":        {linkToSocket, `"to socket"`},
		"a link with a name out of the way": {func(dir folder) error { return os.Symlink("a/../../b", dir.at("weights/winding")) }, `"weights/winding"`},
	}
	i := 0
	for name, tt := range tests {
		i++
		mv := makeVersion("refused-"+string(rune('a'+i)), ns, "")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := model(t)
			require.NoError(t, tt.spoil(dir))
			failed, _ := live.failed(t, mv.LocalStorage(string(dir), nodeName).New())
			assertRefusal(t, failed, v1alpha1.ReasonSourceUnsafe, tt.names)
		})
	}
}

func linkToSocket(dir folder) error {
	if err := syscall.Mknod(dir.at("socket"), syscall.S_IFSOCK|0o644, 0); err != nil {
		return err
	}
	return os.Symlink("socket", dir.at("to socket"))
}
