package step

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestMountCheckRejectsSource(t *testing.T) {
	tests := map[string]struct {
		source       func(t *testing.T, p *pod)
		storage      []string
		reason, want string
	}{
		"a missing directory": {
			source: func(t *testing.T, p *pod) { require.NoError(t, os.Remove(p.path("source"))) },
			reason: v1alpha1.ReasonSourceMissing, want: "the claim does not exist",
		},
		"a missing sub-path": {
			storage: []string{"--storage-kind=persistentVolumeClaim", "--sub-path=a/b"},
			reason:  v1alpha1.ReasonSourceMissing, want: "the sub-path a/b of the claim does not exist",
		},
		"a sub-path that leads out": {
			source:  func(t *testing.T, p *pod) { require.NoError(t, os.Symlink("/etc", p.path("source/a"))) },
			storage: []string{"--storage-kind=persistentVolumeClaim", "--sub-path=a"},
			reason:  v1alpha1.ReasonSourceUnsafe, want: "leads out of the storage",
		},
		"a file": {
			source:  func(t *testing.T, p *pod) { p.write(t, "source/a", "x") },
			storage: []string{"--storage-kind=persistentVolumeClaim", "--sub-path=a"},
			reason:  v1alpha1.ReasonSourceNotDirectory, want: "is not a directory",
		},
		"a directory without files": {
			source: func(t *testing.T, p *pod) { require.NoError(t, os.Mkdir(p.path("source/a"), 0o755)) },
			reason: v1alpha1.ReasonSourceEmpty, want: "the claim contains no files",
		},
		"a link that leads out": {
			source: func(t *testing.T, p *pod) {
				p.write(t, "source/a", "x")
				require.NoError(t, os.Symlink("/etc/passwd", p.path("source/b")))
			},
			reason: v1alpha1.ReasonSourceUnsafe, want: `"b" is a symbolic link to "/etc/passwd"`,
		},
		"a name that is not valid UTF-8": {
			source: func(t *testing.T, p *pod) { p.write(t, "source/a\xff", "x") },
			reason: v1alpha1.ReasonSourceUnsafe, want: "not valid UTF-8",
		},
		"a missing file of the model": {
			source: func(t *testing.T, p *pod) {
				p.write(t, "source/model.safetensors.index.json", `{"weight_map": {"a": "model-00001-of-00001.safetensors"}}`)
			},
			reason: v1alpha1.ReasonSourceIncomplete, want: "model-00001-of-00001.safetensors",
		},
		"a truncated file of the model": {
			source: func(t *testing.T, p *pod) { p.write(t, "source/model.gguf", "GGUF\x03\x00") },
			reason: v1alpha1.ReasonSourceIncomplete, want: "model.gguf",
		},
		"an unsupported kind of storage": {
			storage: []string{"--storage-kind=iscsi"},
			reason:  v1alpha1.ReasonStorageKindUnsupported, want: `the storage kind "iscsi" is not supported`,
		},
		"an NFS server that is not allowed": {
			storage: []string{"--storage-kind=nfs", "--nfs-server=nas", "--nfs-path=/private", "--allowed-nfs=nas:/models,other"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "(allowedNFS)",
		},
		"a directory without files on NFS": {
			storage: []string{"--storage-kind=nfs", "--nfs-server=nas", "--nfs-path=/models", "--allowed-nfs="},
			reason:  v1alpha1.ReasonSourceEmpty, want: "the path /models of the NFS server nas contains no files",
		},
		"an object store without a list": {
			storage: []string{"--storage-kind=s3", "--endpoint=https://minio.example.com", "--bucket=models", "--prefix=llama"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "since allowedS3 is empty: ask the platform team to allow it. The list of the build is that of the template (--allowed-s3",
		},
		"a bucket that is not allowed": {
			storage: []string{"--storage-kind=s3", "--bucket=models", "--prefix=llama", "--allowed-s3=s3.amazonaws.com/other"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "s3.amazonaws.com/models/llama is not",
		},
		"a hub without a list": {
			storage: []string{"--storage-kind=huggingFace", "--repo=mistralai/Mistral-7B-v0.3"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "since allowedHuggingFace is empty",
		},
		"a Secret for an object store that does not exist": {
			storage: []string{"--storage-kind=s3", "--bucket=models", "--prefix=llama", "--allowed-s3=s3.amazonaws.com", "--source-secret=s3-reader", "--source-secret-dir=/none"},
			reason:  v1alpha1.ReasonSourceUnauthorized, want: "Secret s3-reader, which has the credentials for s3://models/llama, does not exist or is empty: create it in the namespace of the ModelVersion",
		},
		"a path of the system": {
			storage: []string{"--storage-kind=localStorage", "--storage-path=/etc"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "packaged",
		},
		"an empty path": {
			storage: []string{"--storage-kind=localStorage", "--storage-path="},
			reason:  v1alpha1.ReasonSourceForbidden, want: "absolute path",
		},
		"a path that is denied": {
			storage: []string{"--storage-kind=localStorage", "--storage-path=/foo/a", "--denied-paths=/bar,/foo"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "/foo",
		},
		"a path that is not allowed": {
			storage: []string{"--storage-kind=localStorage", "--storage-path=/foo", "--allowed-paths=/models"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "/models",
		},
		"a path that is a link": {
			source: func(t *testing.T, p *pod) {
				p.write(t, "mountinfo", fmt.Sprintf("1 2 8:1 /bar %s ro - ext4 /dev/sda1 ro\n", p.path("source")))
			},
			storage: []string{"--storage-kind=localStorage", "--storage-path=/foo", "--mountinfo=MOUNTINFO"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "to /bar on the node",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			if tt.source != nil {
				tt.source(t, p)
			}
			if tt.storage != nil {
				p.storage = nil
				for _, arg := range tt.storage {
					p.storage = append(p.storage, strings.ReplaceAll(arg, "MOUNTINFO", p.path("mountinfo")))
				}
			}
			code, printed := p.mountCheck(t)
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
		})
	}
}

// A model that the completeness check takes for an incomplete one has a way out, which
// the message names.
func TestMountCheckSkipsCompleteness(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/model.gguf", "GGUF\x03\x00")

	code, printed := p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceIncomplete, "set spec.build.completenessCheck: Skip", code, printed)

	code, printed = p.mountCheck(t, "--completeness-check=Skip")
	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "completeness check skipped")

	p.write(t, "source/model.gguf.aria2", "")
	code, printed = p.mountCheck(t, "--completeness-check=Skip")
	p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceIncomplete, "a temporary file of aria2", code, printed)
	assert.NotContains(t, printed, "completenessCheck")
}

func TestMountCheckLocalStorage(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	p.write(t, "mountinfo", fmt.Sprintf("1 2 8:1 /foo %s ro - ext4 /dev/sda1 ro\n", p.path("source")))
	p.storage = []string{"--storage-kind=localStorage", "--storage-path=/foo", "--mountinfo=" + p.path("mountinfo"), "--denied-paths=", "--allowed-paths="}
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "the path /foo on the node is mounted")
}

// The engine Stream is not root. The advice to use Kaniko, which is, is for files that
// are complete.
func TestMountCheckAdviceForUnreadableFile(t *testing.T) {
	const useKaniko = "or use the engine Kaniko"
	tests := map[string]struct {
		file         string
		reason, want string
	}{
		"a private file":                              {"private.bin", v1alpha1.ReasonSourceUnreadable, useKaniko},
		"a temporary file of rsync":                   {".private.bin.7iOc1a", v1alpha1.ReasonSourceIncomplete, "is a temporary file of rsync, so that the model is incomplete"},
		"what may be a temporary file of rsync":       {".private.bin.abcdef", v1alpha1.ReasonSourceUnreadable, "if it is a temporary file of rsync"},
		"a private file of a download that continues": {"private.bin.part", v1alpha1.ReasonSourceIncomplete, "is a temporary file of a download"},
	}
	for name, tt := range tests {
		for _, engine := range []v1alpha1.BuildEngine{v1alpha1.Stream, v1alpha1.Kaniko} {
			t.Run(name+", "+string(engine), func(t *testing.T) {
				p := newPod(t)
				p.write(t, "source/"+tt.file, "x")
				require.NoError(t, os.Chmod(p.path("source/"+tt.file), 0o000))
				dropPrivileges(t, p.dir)
				code, printed := p.mountCheck(t, "--engine="+string(engine), "--program="+p.path("termination-log"))
				want := tt.want
				if engine == v1alpha1.Kaniko && want == useKaniko {
					want = "permission denied"
				}
				p.assertFailed(t, "mount-check", tt.reason, want, code, printed)
				assert.Equal(t, want == useKaniko, strings.Contains(printed, useKaniko))
			})
		}
	}
}

// dropPrivileges makes this test read and write files as another user, to whom the
// directory belongs. Go may run a test as root, who can read all.
func dropPrivileges(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || strings.HasPrefix(path, filepath.Join(dir, "source")) {
			return err
		}
		return os.Chown(path, nobody, nobody)
	}))
	require.NoError(t, os.Chmod(dir, 0o755))
	// The user belongs to the thread.
	runtime.LockOSThread()
	_, err := unix.SetfsuidRetUid(nobody)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := unix.SetfsuidRetUid(0)
		require.NoError(t, err)
		runtime.UnlockOSThread()
	})
}
