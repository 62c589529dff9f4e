package step

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/test/sources/hub"
)

// packagedPaths returns the paths in the manifest of the image at the tag.
func (p *pod) packagedPaths(t *testing.T) []string {
	t.Helper()
	manifest, err := modelimage.ReadManifest(p.pull(t))
	require.NoError(t, err)
	var paths []string
	for _, e := range manifest.Entries {
		paths = append(paths, e.Path)
	}
	return paths
}

// Both engines package what patterns select. The patterns belong to the version.
func TestBuildSelectsFiles(t *testing.T) {
	for _, streams := range []bool{false, true} {
		t.Run(fmt.Sprintf("streams: %t", streams), func(t *testing.T) {
			p := newPod(t)
			p.streams = streams
			for _, name := range []string{"model.bin", "config.json", "notes.txt", "logs/1", ".git/HEAD", "model.bin.part"} {
				p.write(t, "source/"+name, "weights")
			}
			p.write(t, "source/"+layer.IgnoreFile, "# Of the training\nlogs/\n")
			p.storage = append(p.storage, "--include=*.bin\nlogs/\nmodel.bin.*\n.git/\n*.json", "--exclude=.git/\n*.part")

			code, printed := p.allSteps(t)

			require.Equal(t, exitOK, code, printed)
			assert.Equal(t, []string{".", "config.json", "model.bin"}, p.packagedPaths(t))
			assert.Equal(t, int64(2), p.report(t).Source.Files)
			manifest, err := modelimage.ReadManifest(p.pull(t))
			require.NoError(t, err)
			assert.Equal(t, layer.Patterns{Include: []string{"*.bin", "logs/", "model.bin.*", ".git/", "*.json"}, Exclude: []string{"logs/", ".git/", "*.part"}}, manifest.Patterns)

			// What is left out may change, and the same patterns are the same version.
			p.recreate(t)
			p.write(t, "source/logs/2", "more")
			code, printed = p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			assert.True(t, p.report(t).Source.AlreadyPushed)

			// Other patterns are another version, even if they select the same files.
			p.recreate(t)
			p.storage = append(p.storage, "--exclude=.git/\n*.part\n*.tmp")
			code, printed = p.mountCheck(t)
			p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, "the patterns in spec.build.include, spec.build.exclude or .modelkilnignore were changed", code, printed)
		})
	}
}

// The files of a store are selected as those of a volume are.
func TestBuildSelectsFilesOfHub(t *testing.T) {
	store := hub.Start(t)
	files := map[string]hub.File{
		layer.IgnoreFile: hub.Small("original/\n"), "config.json": hub.Small("{}"), "model.bin": hub.Large([]byte("weights")),
		"original/model.bin": hub.Small("weights"), "README.md": hub.Small("# Model"),
	}
	store.Put(hub.Repository{Name: "org/model", Commit: strings.Repeat("a", 40), Revisions: []string{"main"}, Files: files})
	for _, streams := range []bool{false, true} {
		t.Run(fmt.Sprintf("streams: %t", streams), func(t *testing.T) {
			p := newPod(t)
			p.streams = streams
			p.storage = []string{"--storage-kind=huggingFace", "--repo=org/model", "--endpoint=" + store.URL, "--allowed-hugging-face=" + store.URL + "," + store.Storage, "--exclude=*.md"}
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			assert.Equal(t, []string{".", "config.json", "model.bin"}, p.packagedPaths(t))
		})
	}
}

// A rebuild compares what the hub lists with what the image records, and reads no file.
func TestMountCheckOfKnownImageReadsNoFileOfHub(t *testing.T) {
	const size = 8 << 20
	store := hub.Start(t)
	repository := hub.Repository{Name: "org/model", Commit: strings.Repeat("a", 40), Revisions: []string{"main"}, Files: map[string]hub.File{"model.bin": hub.Large(make([]byte, size))}}
	store.Put(repository)
	p := newPod(t)
	p.streams = true
	p.storage = []string{"--storage-kind=huggingFace", "--repo=org/model", "--endpoint=" + store.URL, "--allowed-hugging-face=" + store.URL + "," + store.Storage}
	code, printed := p.allSteps(t)
	require.Equal(t, exitOK, code, printed)
	p.known = p.digest(t)
	before := store.Sent()

	code, printed = p.mountCheck(t)

	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "the files are the same")
	assert.Less(t, store.Sent()-before, int64(size/2))

	repository.Files["model.bin"] = hub.Large(append(make([]byte, size-1), 1))
	store.Put(repository)
	code, printed = p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, "", code, printed)
}

func TestMountCheckLogsWhatIsExcluded(t *testing.T) {
	tests := map[string]struct{ exclude, want string }{
		"files and a directory": {"*.log\nlogs/", "left out 2 files (9 B) and 1 directory: logs/, b.log, a.log\n"},
		"a file":                {"a.log", "left out 1 file (2 B): a.log\n"},
		"directories":           {"*/", "left out 6 directories: 1/, 2/, 3/, 4/, cache/, and 1 more\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			for name, content := range map[string]string{"model.bin": "weights", "a.log": "12", "b.log": "1234567", "logs/x": "1", "cache/x": "1", "1/x": "1", "2/x": "1", "3/x": "1", "4/x": "1"} {
				p.write(t, "source/"+name, content)
			}
			code, printed := p.mountCheck(t, "--exclude="+tt.exclude)
			require.Equal(t, exitOK, code, printed)
			assert.Contains(t, printed, tt.want)
		})
	}
}

// A build in another pod packages what links lead to, and nothing else of the volume.
func TestBuildFollowsLinks(t *testing.T) {
	const repo = "source/hub/models--org--name"
	for _, streams := range []bool{false, true} {
		t.Run(fmt.Sprintf("streams: %t", streams), func(t *testing.T) {
			p := newPod(t)
			p.streams = streams
			p.write(t, repo+"/blobs/1", "weights")
			p.write(t, repo+"/blobs/2", "other")
			p.link(t, repo+"/snapshots/abc/model.bin", "../../blobs/1")
			p.storage = []string{"--storage-kind=persistentVolumeClaim", "--sub-path=hub/models--org--name/snapshots/abc", "--symlinks=Follow"}

			code, printed := p.allSteps(t)

			require.Equal(t, exitOK, code, printed)
			assert.Equal(t, []string{".", "model.bin"}, p.packagedPaths(t))
			manifest, err := modelimage.ReadManifest(p.pull(t))
			require.NoError(t, err)
			assert.Equal(t, layer.File, manifest.Entries[1].Type)
			assert.Equal(t, int64(len("weights")), manifest.Entries[1].Size)
		})
	}
}

func (p *pod) link(t *testing.T, name, target string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	require.NoError(t, os.Symlink(target, p.path(name)))
}

// A link that leads out between the steps fails the build.
func TestBuildNeverFollowsLinksOutOfTheVolume(t *testing.T) {
	for _, streams := range []bool{false, true} {
		t.Run(fmt.Sprintf("streams: %t", streams), func(t *testing.T) {
			p := newPod(t)
			p.streams = streams
			p.write(t, "secret", "secrets")
			p.write(t, "source/blobs/1", "weights")
			p.link(t, "source/model/model.bin", "../blobs/1")
			p.storage = []string{"--storage-kind=persistentVolumeClaim", "--sub-path=model", "--symlinks=Follow"}
			code, printed := p.mountCheck(t)
			require.Equal(t, exitOK, code, printed)

			require.NoError(t, os.Remove(p.path("source/model/model.bin")))
			p.link(t, "source/model/model.bin", "../../secret")

			code, printed = p.build(t)
			p.assertFailed(t, "build", v1alpha1.ReasonSourceChanging, `"model.bin" changed while it was packaged`, code, printed)
		})
	}
}

func TestMountCheckAdviceForLinks(t *testing.T) {
	local := []string{"--storage-kind=localStorage", "--storage-path=/foo", "--denied-paths=", "--allowed-paths="}
	claim := []string{"--storage-kind=persistentVolumeClaim"}
	tests := map[string]struct {
		target  string
		storage []string
		want    string
	}{
		"a part of a claim":            {"../blobs/1", append(claim, "--sub-path=model"), "set spec.build.symlinks: Follow, to package what links lead to in the claim"},
		"an absolute link":             {"/source/blobs/1", append(claim, "--sub-path=model"), "or with a relative link to a file of the model, or leave it out with spec.build.exclude"},
		"out of a claim":               {"../../blobs/1", append(claim, "--sub-path=model", "--symlinks=Follow"), "copy the whole cache of Hugging Face, with its directory blobs, to the claim"},
		"out of a claim, kept":         {"../../blobs/1", claim, "copy the whole cache of Hugging Face, with its directory blobs, to the claim, or download the model with hf download --local-dir"},
		"a part of a node's cache":     {"../../blobs/1", local, "only this directory is mounted, and not the blobs of the cache of Hugging Face: run cp -rL on it, or hf download --local-dir"},
		"followed on a node":           {"../../blobs/1", append(local, "--symlinks=Follow"), "only this directory is mounted, and not the blobs of the cache of Hugging Face"},
		"out of a server's directory":  {"../../blobs/1", []string{"--storage-kind=nfs", "--nfs-server=nas", "--nfs-path=/models"}, "only this directory is mounted"},
		"a link that is not a cache's": {"../other", local, "replace it with the file itself"},
		"a dangling link":              {"nothing", append(claim, "--symlinks=Follow", "--sub-path=model"), "which does not exist: replace it with a relative link to a file of the volume"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/blobs/1", "weights")
			p.write(t, "source/model/config.json", "{}")
			p.write(t, "mountinfo", fmt.Sprintf("1 2 8:1 /foo %s ro - ext4 /dev/sda1 ro\n", p.path("source")))
			p.link(t, "source/link", tt.target)
			p.link(t, "source/model/link", tt.target)
			p.storage = tt.storage
			code, printed := p.mountCheck(t, "--mountinfo="+p.path("mountinfo"))
			p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceUnsafe, tt.want, code, printed)
			assert.Contains(t, p.report(t).Failure.Message, fmt.Sprintf("link\" is a symbolic link to %q", tt.target))
		})
	}
}

func TestMountCheckSaysThatPatternsSelectNothing(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/model.bin", "weights")
	code, printed := p.mountCheck(t, "--include=*.gguf")
	p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceEmpty, "the claim contains no files that the patterns in spec.build.include, spec.build.exclude and .modelkilnignore select", code, printed)
}

func TestMountCheckRejectsPatterns(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/model.bin", "weights")
	code, printed := p.mountCheck(t, "--exclude=a\n[")
	p.assertFailed(t, "mount-check", v1alpha1.ReasonInvalidSpec, `spec.build.exclude has the pattern "[", which is malformed`, code, printed)
}

// The report says if much of the source is not the model, unless patterns select files.
func TestMountCheckReportsWhatIsNotTheModel(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/model.bin", "weights")
	for _, name := range []string{".git/lfs/1", "optimizer.pt", "a/optimizer.bin", "b/optimizer.bin", "c/optimizer.bin"} {
		p.write(t, "source/"+name, "")
		// A sparse file takes no space.
		require.NoError(t, os.Truncate(p.path("source/"+name), 60<<20))
	}
	code, printed := p.mountCheck(t, "--completeness-check=Skip")
	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, `300.0 MiB of 300.0 MiB are not the model (.git, a/optimizer.bin, b/optimizer.bin, and 2 more): to leave them out of the next ModelVersion, set spec.build.exclude: [".git/", "optimizer.bin", "optimizer.pt"]`, p.report(t).Source.Advice)

	code, printed = p.mountCheck(t, "--completeness-check=Skip", "--exclude=optimizer.pt")
	require.Equal(t, exitOK, code, printed)
	assert.Empty(t, p.report(t).Source.Advice)
}
