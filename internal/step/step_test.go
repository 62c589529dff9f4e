package step

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/report"
)

const versionUID = "7d2c1c07-2f0e-4d4f-8d54-3f1a1c1f0a52"

// pod is where the steps of a build run: the folders of its containers, and a
// registry.
type pod struct {
	dir, host string
	repo, tag string
	base      string
	uid       string
	secret    string
	// storage is the storage flags of mount-check.
	storage []string
	// registry is what the registry is served by; it may be changed.
	registry *switchable
}

// switchable serves what it is set to.
type switchable struct{ http.Handler }

func newPod(t *testing.T) *pod {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"kiln", "source", "push-secret", "kaniko", "image"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, folder), 0o755))
	}
	registry := &switchable{Handler: memory.New(memory.Logger(log.New(io.Discard, "", 0)))}
	server := httptest.NewServer(registry)
	t.Cleanup(server.Close)
	p := &pod{
		dir: dir, host: strings.TrimPrefix(server.URL, "http://"), repo: "models/resnet", tag: "v1",
		base: "scratch", uid: versionUID, secret: "regcred", registry: registry,
		storage: []string{"--storage-kind=persistentVolumeClaim"},
	}
	p.write(t, "termination-log", "")
	t.Setenv(pretend, "kaniko")
	t.Setenv(kanikoFolder, p.at("kaniko"))
	return p
}

func (p *pod) at(name string) string { return filepath.Join(p.dir, name) }

func (p *pod) write(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(p.at(name)), 0o755))
	require.NoError(t, os.WriteFile(p.at(name), []byte(content), 0o600))
}

func (p *pod) image() string { return p.host + "/" + p.repo + ":" + p.tag }

func (p *pod) run(t *testing.T, command string, args ...string) (code int, printed string) {
	t.Helper()
	var out bytes.Buffer
	args = append([]string{command, "--shared=" + p.at("kiln"), "--termination-log=" + p.at("termination-log")}, args...)
	code = Main(t.Context(), args, &out, &out)
	return code, out.String()
}

func (p *pod) registryArgs() []string {
	return []string{
		"--image=" + p.image(), "--plain-http=" + p.host, "--push-secret=" + p.secret,
		"--push-secret-folder=" + p.at("push-secret"), "--registry-ca=" + p.at("ca.crt"),
	}
}

func (p *pod) mountCheck(t *testing.T, args ...string) (int, string) {
	t.Helper()
	all := append(p.registryArgs(), p.storage...)
	all = append(all, "--base-image="+p.base, "--push-secret-required=false", "--workflow-uid=wf-1",
		"--model-version-uid="+p.uid, "--source="+p.at("source"), "--program="+os.Args[0])
	return p.run(t, "mount-check", append(all, args...)...)
}

func (p *pod) build(t *testing.T) (int, string) {
	t.Helper()
	args := append(p.registryArgs(), "--base-image="+p.base, "--model=resnet", "--model-version=resnet-v1",
		"--model-version-uid="+p.uid, "--created-by=Ann+O%27Hara%0A%22%24HOME%22",
		"--executor="+os.Args[0], "--kaniko-folder="+p.at("kaniko"), "--image-root="+p.at("image"))
	return p.run(t, "build", args...)
}

func (p *pod) statusReport(t *testing.T) (int, string) {
	t.Helper()
	return p.run(t, "status-report", append(p.registryArgs(), "--model-version-uid="+p.uid)...)
}

// again makes the containers of the next attempt: everything in them is new.
func (p *pod) again(t *testing.T) {
	t.Helper()
	for _, folder := range []string{"kaniko", "image"} {
		require.NoError(t, os.RemoveAll(p.at(folder)))
		require.NoError(t, os.Mkdir(p.at(folder), 0o755))
	}
}

func (p *pod) report(t *testing.T) report.Report {
	t.Helper()
	r, err := report.Read(p.at("kiln"))
	require.NoError(t, err)
	return r
}

// assertFailed says that a step failed as it should: in the report, in the
// termination log and on the log, in the same words.
func (p *pod) assertFailed(t *testing.T, step, reason, sentence string, code int, printed string) {
	t.Helper()
	require.Equal(t, exitFailed, code, printed)
	failed := p.report(t).Failure
	require.NotNil(t, failed, printed)
	assert.Equal(t, step, failed.Step)
	assert.Equal(t, reason, failed.Reason, failed.Message)
	assert.Contains(t, failed.Message, sentence)
	assert.LessOrEqual(t, len([]rune(failed.Message)), 500)
	assert.NotContains(t, failed.Message, "\n")
	assert.Contains(t, printed, "FAILED "+reason+": "+failed.Message)
	last, err := os.ReadFile(p.at("termination-log"))
	require.NoError(t, err)
	assert.Equal(t, reason+": "+failed.Message, string(last))
}

// put pushes an image.
func (p *pod) put(t *testing.T, image v1.Image, reference string) {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, image))
}

func (p *pod) pull(t *testing.T) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(p.image(), name.Insecure)
	require.NoError(t, err)
	image, err := remote.Image(ref)
	require.NoError(t, err)
	return image
}

func configured(t *testing.T, image v1.Image, config v1.Config) v1.Image {
	t.Helper()
	image, err := mutate.Config(image, config)
	require.NoError(t, err)
	return image
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(100, 1)
	require.NoError(t, err)
	return image
}

// hasTheModel puts a model with odd names, modes and links at the source.
func (p *pod) hasTheModel(t *testing.T) {
	t.Helper()
	p.write(t, "source/config.json", "{}")
	p.write(t, "source/.dockerignore", "*\n")
	p.write(t, "source/a b/$HOME [x]*?", "odd")
	p.write(t, "source/a b/"+strings.Repeat("ä", 100)+"\n", "long")
	p.write(t, "source/run.sh", "#!/bin/sh\n")
	p.write(t, "source/Dockerfile", "FROM evil\n")
	require.NoError(t, os.Chmod(p.at("source/run.sh"), 0o700))
	require.NoError(t, os.Mkdir(p.at("source/empty"), 0o700))
	require.NoError(t, os.Symlink("../config.json", p.at("source/a b/link")))
	for i := range 2 {
		at := fmt.Sprintf("source/weights-%d.bin", i)
		p.write(t, at, fmt.Sprintf("weights %d", i))
		require.NoError(t, os.Truncate(p.at(at), layer.OwnLayerSize+int64(i)))
	}
	long := time.Date(2020, 2, 3, 4, 5, 6, 789, time.UTC)
	require.NoError(t, filepath.WalkDir(p.at("source"), func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() == fs.ModeSymlink {
			return err
		}
		return os.Chtimes(at, long, long)
	}))
}

func TestAModelBecomesAnImage(t *testing.T) {
	p := newPod(t)
	p.hasTheModel(t)
	require.NoError(t, syscall.Mkfifo(p.at("source/pipe"), 0o600))
	p.base = p.host + "/base/nonroot:1"
	p.put(t, configured(t, randomImage(t), v1.Config{User: "nonroot", Env: []string{"PATH=/bin"}}), p.base)

	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	assert.Contains(t, printed, "the claim holds 8 files, 128.0 MiB, for 3 layers")
	assert.Contains(t, printed, "1 things without content are left out")
	assert.Contains(t, printed, "there is no Secret regcred, so the push is anonymous")
	program, err := os.Stat(p.at("kiln/modelkiln-step"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o755), program.Mode().Perm())

	code, printed = p.build(t)
	require.Equal(t, exitDone, code, printed)
	assert.Contains(t, printed, "layer 1: copied 1 files, 64.0 MiB")
	assert.Contains(t, printed, "layer 2: Kaniko has written all of it")
	assert.Contains(t, printed, "Kaniko has pushed, and its 3 layers hold all 8 files")

	code, printed = p.statusReport(t)
	require.Equal(t, exitDone, code, printed)

	r := p.report(t)
	assert.Equal(t, report.Run{WorkflowUID: "wf-1", ModelVersionUID: versionUID, Image: p.image()}, r.Run)
	assert.Equal(t, &report.Source{Files: 8, Bytes: 2*layer.OwnLayerSize + 1 + 2 + 2 + 3 + 4 + 10 + 10, Layers: 3, Skipped: 1}, r.Source)
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
	p.assertHoldsTheSource(t, image)

	code, printed = p.run(t, "print-report")
	require.Equal(t, exitDone, code)
	assert.Contains(t, printed, "pushed  "+p.image()+"@"+digest.String())
	assert.Contains(t, printed, "result  pushed and verified")
}

// assertHoldsTheSource compares an image's model with the source.
func (p *pod) assertHoldsTheSource(t *testing.T, image v1.Image) {
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
		if !inModel {
			continue
		}
		seen[path] = true
		from := filepath.Join(p.at("source"), path)
		info, err := os.Lstat(from)
		require.NoError(t, err)
		assert.Equal(t, info.ModTime().UnixNano(), header.ModTime.UnixNano(), path)
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
	require.NoError(t, filepath.WalkDir(p.at("source"), func(at string, d fs.DirEntry, err error) error {
		if err == nil && d.Type() != fs.ModeNamedPipe {
			assert.True(t, seen[strings.TrimPrefix(at, p.at("source"))], at)
		}
		return err
	}))
}

func assertSameContent(t *testing.T, file string, got io.Reader) {
	t.Helper()
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	have, err := io.ReadAll(got)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, have), file)
}

// built runs all steps for a small model.
func built(t *testing.T) *pod {
	t.Helper()
	p := newPod(t)
	p.write(t, "source/config.json", "{}")
	p.write(t, "source/w.bin", "weights")
	for _, step := range []func() (int, string){
		func() (int, string) { return p.mountCheck(t) },
		func() (int, string) { return p.build(t) },
		func() (int, string) { return p.statusReport(t) },
	} {
		code, printed := step()
		require.Equal(t, exitDone, code, printed)
	}
	p.again(t)
	return p
}

func TestTheSameVersionAgainIsNoWork(t *testing.T) {
	p := built(t)
	want := p.report(t).Image
	later := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(p.at("source/w.bin"), later, later))

	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	assert.Contains(t, printed, "the files are the same")
	r := p.report(t)
	assert.True(t, r.Source.AlreadyPushed)
	assert.Nil(t, r.Image, "the report of the run before is gone")

	t.Setenv(fault, faultIsTurnedAway)
	code, printed = p.build(t)
	require.Equal(t, exitDone, code, printed)
	assert.Contains(t, printed, "nothing to build")

	code, printed = p.statusReport(t)
	require.Equal(t, exitDone, code, printed)
	assert.Equal(t, want, p.report(t).Image)

	_, printed = p.run(t, "print-report")
	assert.Contains(t, printed, "it was in the registry already")
}

func TestTheSameVersionWithOtherFilesIsRefused(t *testing.T) {
	changes := map[string]struct {
		change func(t *testing.T, p *pod)
		want   string
	}{
		"other content of the same size": {change: func(t *testing.T, p *pod) { p.write(t, "source/w.bin", "WEIGHTS") }, want: `as "w.bin" is another`},
		"one more file":                  {change: func(t *testing.T, p *pod) { p.write(t, "source/x", "") }, want: `as "x" is new`},
		"one file less":                  {change: func(t *testing.T, p *pod) { require.NoError(t, os.Remove(p.at("source/w.bin"))) }, want: `as "w.bin" is gone`},
		"another mode":                   {change: func(t *testing.T, p *pod) { require.NoError(t, os.Chmod(p.at("source/w.bin"), 0o700)) }, want: `as "w.bin" is another`},
	}
	for name, tt := range changes {
		t.Run(name, func(t *testing.T) {
			p := built(t)
			tt.change(t, p)
			code, printed := p.mountCheck(t)
			p.assertFailed(t, "mount-check", v1alpha1.ReasonSourceChanged, tt.want, code, printed)
		})
	}
}

func TestATagThatHoldsSomethingElseIsNeverOverwritten(t *testing.T) {
	ours := v1.Config{Labels: map[string]string{v1alpha1.LabelModelVersionUID: versionUID}}
	tests := map[string]struct {
		uid  string
		put  func(t *testing.T, p *pod)
		want string
	}{
		"an image of nobody": {
			uid: versionUID, want: "already holds something else than this version",
			put: func(t *testing.T, p *pod) { p.put(t, randomImage(t), p.image()) },
		},
		"another version's": {
			uid: "another", want: "already holds something else than this version",
			put: func(t *testing.T, p *pod) { p.put(t, configured(t, randomImage(t), ours), p.image()) },
		},
		"one of a build that a person started": {
			uid: "", want: "already holds something else than this version",
			put: func(t *testing.T, p *pod) { p.put(t, randomImage(t), p.image()) },
		},
		"this version's, without a list of files": {
			uid: versionUID, want: "without a list of its files",
			put: func(t *testing.T, p *pod) { p.put(t, configured(t, randomImage(t), ours), p.image()) },
		},
		"this version's, without any layer": {
			uid: versionUID, want: "without a list of its files",
			put: func(t *testing.T, p *pod) { p.put(t, configured(t, empty.Image, ours), p.image()) },
		},
		"an artifact": {
			uid: versionUID, want: "already holds something else than this version",
			put: func(t *testing.T, p *pod) {
				p.put(t, mutate.ConfigMediaType(randomImage(t), "application/vnd.cncf.helm.config.v1+json"), p.image())
			},
		},
		"an index": {
			uid: versionUID, want: "already holds something else than this version",
			put: func(t *testing.T, p *pod) {
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
			tt.put(t, p)
			code, printed := p.mountCheck(t)
			p.assertFailed(t, "mount-check", v1alpha1.ReasonTagTaken, tt.want, code, printed)
		})
	}
}

func TestMountCheckRefusesASource(t *testing.T) {
	tests := map[string]struct {
		source       func(t *testing.T, p *pod)
		storage      []string
		reason, want string
	}{
		"nothing there": {
			source: func(t *testing.T, p *pod) { require.NoError(t, os.Remove(p.at("source"))) },
			reason: v1alpha1.ReasonSourceMissing, want: "the claim does not exist",
		},
		"no such sub-path": {
			storage: []string{"--storage-kind=persistentVolumeClaim", "--sub-path=a/b"},
			reason:  v1alpha1.ReasonSourceMissing, want: "the sub-path a/b of the claim does not exist",
		},
		"a sub-path that leads out": {
			source:  func(t *testing.T, p *pod) { require.NoError(t, os.Symlink("/etc", p.at("source/a"))) },
			storage: []string{"--storage-kind=persistentVolumeClaim", "--sub-path=a"},
			reason:  v1alpha1.ReasonSourceUnsafe, want: "leads out of the storage",
		},
		"a file": {
			source:  func(t *testing.T, p *pod) { p.write(t, "source/a", "x") },
			storage: []string{"--storage-kind=persistentVolumeClaim", "--sub-path=a"},
			reason:  v1alpha1.ReasonSourceNotDirectory, want: "is not a folder",
		},
		"no file": {
			source: func(t *testing.T, p *pod) { require.NoError(t, os.Mkdir(p.at("source/a"), 0o755)) },
			reason: v1alpha1.ReasonSourceEmpty, want: "the claim holds no file",
		},
		"a link that leads out": {
			source: func(t *testing.T, p *pod) {
				p.write(t, "source/a", "x")
				require.NoError(t, os.Symlink("/etc/passwd", p.at("source/b")))
			},
			reason: v1alpha1.ReasonSourceUnsafe, want: `"b" is a symbolic link to "/etc/passwd"`,
		},
		"a name that is no text": {
			source: func(t *testing.T, p *pod) { p.write(t, "source/a\xff", "x") },
			reason: v1alpha1.ReasonSourceUnsafe, want: "not valid UTF-8",
		},
		"a kind that is not supported": {
			storage: []string{"--storage-kind=nfs"},
			reason:  v1alpha1.ReasonStorageKindUnsupported, want: `the storage kind "nfs" is not supported`,
		},
		"a path of the system": {
			storage: []string{"--storage-kind=localStorage", "--storage-path=/etc"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "/etc is never packaged",
		},
		"no path": {
			storage: []string{"--storage-kind=localStorage", "--storage-path="},
			reason:  v1alpha1.ReasonSourceForbidden, want: "not an absolute path",
		},
		"a path that is denied on this cluster": {
			storage: []string{"--storage-kind=localStorage", "--storage-path=/foo/a", "--denied-paths=/bar,/foo"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "is inside /foo",
		},
		"a path that is not allowed on this cluster": {
			storage: []string{"--storage-kind=localStorage", "--storage-path=/foo", "--allowed-paths=/models"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "below /models",
		},
		"a path that leads elsewhere": {
			source: func(t *testing.T, p *pod) {
				p.write(t, "mountinfo", fmt.Sprintf("1 2 8:1 /bar %s ro - ext4 /dev/sda1 ro\n", p.at("source")))
			},
			storage: []string{"--storage-kind=localStorage", "--storage-path=/foo", "--mountinfo=MOUNTINFO"},
			reason:  v1alpha1.ReasonSourceForbidden, want: "/foo leads to /bar on the node",
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
					p.storage = append(p.storage, strings.ReplaceAll(arg, "MOUNTINFO", p.at("mountinfo")))
				}
			}
			code, printed := p.mountCheck(t)
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
		})
	}
}

func TestAPathOnTheNodeIsPackaged(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	p.write(t, "mountinfo", fmt.Sprintf("1 2 8:1 /foo %s ro - ext4 /dev/sda1 ro\n", p.at("source")))
	p.storage = []string{"--storage-kind=localStorage", "--storage-path=/foo", "--mountinfo=" + p.at("mountinfo"), "--denied-paths=", "--allowed-paths="}
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	assert.Contains(t, printed, "the path /foo on the node is what is mounted")
}

func TestPushSecrets(t *testing.T) {
	const command = "kubectl create secret docker-registry regcred --docker-server=HOST"
	tests := map[string]struct {
		content, required string
		reason, want      string
	}{
		"absent, and may be":   {},
		"absent, and required": {required: "true", reason: v1alpha1.ReasonPushSecretMissing, want: "there is no Secret regcred of type kubernetes.io/dockerconfigjson in this namespace: make it with " + command},
		"not a Docker configuration": {
			content: "user:password", reason: v1alpha1.ReasonPushSecretMissing,
			want: "the content of Secret regcred is not a Docker configuration: make it with " + command,
		},
		"only the name of a helper": {
			content: `{"credsStore": "osxkeychain"}`, required: "true", reason: v1alpha1.ReasonPushSecretMissing,
			want: `the helper "osxkeychain"`,
		},
		"there": {content: `{"auths": {}}`, required: "true"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			if tt.content != "" {
				p.write(t, "push-secret/config.json", tt.content)
			}
			code, printed := p.mountCheck(t, "--push-secret-required="+tt.required)
			if tt.reason == "" {
				require.Equal(t, exitDone, code, printed)
				return
			}
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
		})
	}
}

func TestRegistriesThatRefuse(t *testing.T) {
	answer := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	tests := map[string]struct {
		registry     func(inner http.Handler) http.Handler
		args         []string
		reason, want string
	}{
		"nobody gets in": {
			registry: func(http.Handler) http.Handler { return answer(http.StatusUnauthorized) },
			reason:   v1alpha1.ReasonRegistryUnauthorized, want: "(401), which asked anonymously, as there is no push secret",
		},
		"nobody may push": {
			registry: func(inner http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPost {
						w.WriteHeader(http.StatusForbidden)
						return
					}
					inner.ServeHTTP(w, r)
				})
			},
			reason: v1alpha1.ReasonRegistryUnauthorized, want: "forbids what the build needs in models/resnet (403)",
		},
		"no repository is made by a push": {
			registry: func(inner http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPost {
						w.WriteHeader(http.StatusNotFound)
						return
					}
					inner.ServeHTTP(w, r)
				})
			},
			reason: v1alpha1.ReasonRegistryUnauthorized, want: "has no repository models/resnet that the build may push to",
		},
		"no registry at all": {
			registry: func(http.Handler) http.Handler { return answer(http.StatusTeapot) },
			reason:   v1alpha1.ReasonRegistryUnreachable, want: "418",
		},
		"plain HTTP that is not named": {
			args:   []string{"--plain-http=other:5000"},
			reason: v1alpha1.ReasonRegistryUnreachable, want: "name the host among the plain-HTTP registries",
		},
		"no image reference": {
			args:   []string{"--image=a b"},
			reason: v1alpha1.ReasonInvalidSpec, want: "is not an image reference",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			if tt.registry != nil {
				p.registry.Handler = tt.registry(p.registry.Handler)
			}
			code, printed := p.mountCheck(t, tt.args...)
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
			if tt.reason != v1alpha1.ReasonInvalidSpec {
				assert.Equal(t, int64(1), p.report(t).Source.Files, "what was found out is reported all the same")
			}
		})
	}
}

func TestBaseImages(t *testing.T) {
	tests := map[string]struct {
		base         string
		config       *v1.Config
		reason, want string
	}{
		"not a reference":      {base: "a b", reason: v1alpha1.ReasonInvalidSpec, want: "the base image cannot be used"},
		"none at all":          {base: "", reason: v1alpha1.ReasonInvalidSpec, want: "the base image cannot be used"},
		"not there":            {base: "HOST/base/none:1", reason: v1alpha1.ReasonBuildFailed, want: "does not exist in its registry"},
		"one that runs things": {base: "HOST/base/on:1", config: &v1.Config{OnBuild: []string{"RUN id"}}, reason: v1alpha1.ReasonInvalidSpec, want: "has ONBUILD instructions"},
		"scratch":              {base: "scratch"},
		"an ordinary one":      {base: "HOST/base/ok:1", config: &v1.Config{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			p.base = strings.ReplaceAll(tt.base, "HOST", p.host)
			if tt.config != nil {
				p.put(t, configured(t, randomImage(t), *tt.config), p.base)
			}
			code, printed := p.mountCheck(t)
			if tt.reason == "" {
				require.Equal(t, exitDone, code, printed)
				return
			}
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
		})
	}
}

func TestABaseImageOfSeveralVariants(t *testing.T) {
	variant := func(image v1.Image, architecture string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}}
	}
	p := newPod(t)
	p.write(t, "source/a", "x")
	p.base = p.host + "/base/multi:1"
	ref, err := name.ParseReference(p.base, name.Insecure)
	require.NoError(t, err)
	mine, others := randomImage(t), randomImage(t)

	index := mutate.AppendManifests(empty.Index, variant(others, "mips64"))
	require.NoError(t, remote.WriteIndex(ref, index))
	code, printed := p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonBuildFailed, "has no variant for this node", code, printed)

	require.NoError(t, remote.WriteIndex(ref, mutate.AppendManifests(index, variant(mine, runtime.GOARCH))))
	code, printed = p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	digest, err := mine.Digest()
	require.NoError(t, err)
	assert.Contains(t, printed, "the base image is "+p.host+"/base/multi@"+digest.String())
}

func TestTheBaseImagesUserIsCheckedBeforeTheBuild(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	p.base = p.host + "/base/odd:1"
	p.put(t, configured(t, randomImage(t), v1.Config{User: "a\nRUN id"}), p.base)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	code, printed = p.build(t)
	p.assertFailed(t, "build", v1alpha1.ReasonInvalidSpec, "is neither a name nor a number", code, printed)
}

func TestABaseImageThatHasAModelAlready(t *testing.T) {
	layerWith := func(t *testing.T, headers ...tar.Header) v1.Layer {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			require.NoError(t, w.WriteHeader(&h))
		}
		require.NoError(t, w.Close())
		return static.NewLayer(b.Bytes(), types.DockerUncompressedLayer)
	}
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
			image, err := mutate.AppendLayers(empty.Image, layerWith(t, tt.headers...))
			require.NoError(t, err)
			p.put(t, image, p.base)
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

func TestAFileThatChangesDuringTheBuild(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	p.write(t, "source/a", "longer")
	code, printed = p.build(t)
	p.assertFailed(t, "build", v1alpha1.ReasonSourceChanging, `"a" changed while it was packaged`, code, printed)
}

func TestFaultsOfTheBuilderAreFound(t *testing.T) {
	tests := map[string]struct{ step, reason, want string }{
		faultIsTurnedAway:   {step: "build", reason: v1alpha1.ReasonRegistryUnauthorized, want: "403 Forbidden"},
		faultLosesAFile:     {step: "build", reason: v1alpha1.ReasonVerificationFailed, want: `left "/kubedl-model/w.bin" out of its layer`},
		faultPushesNothing:  {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "the registry has nothing at"},
		faultPushesHalf:     {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "lacks the layer sha256:"},
		faultForgetsTheList: {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "lacks the list of the model's files"},
		faultForgetsTheEnv:  {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "does not set KUBEDL_MODEL_PATH=/kubedl-model"},
		faultForgetsLabels:  {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "belongs to another version"},
	}
	for name, tt := range tests {
		t.Run("it "+name, func(t *testing.T) {
			t.Setenv(fault, name)
			p := newPod(t)
			p.write(t, "source/config.json", "{}")
			p.write(t, "source/w.bin", "weights")
			code, printed := p.mountCheck(t)
			require.Equal(t, exitDone, code, printed)
			code, printed = p.build(t)
			if tt.step == "status-report" {
				require.Equal(t, exitDone, code, printed)
				code, printed = p.statusReport(t)
			}
			p.assertFailed(t, tt.step, tt.reason, tt.want, code, printed)
			assert.Nil(t, p.report(t).Image)
		})
	}
}

func TestFaultsOfTheRegistryAreFound(t *testing.T) {
	tests := map[string]struct {
		blob         func(w http.ResponseWriter)
		reason, want string
	}{
		"a layer is lost": {
			blob:   func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
			reason: v1alpha1.ReasonVerificationFailed, want: "the registry lacks the layer sha256:",
		},
		"a layer is cut off": {
			blob:   func(w http.ResponseWriter) { w.Header().Set("Content-Length", "1") },
			reason: v1alpha1.ReasonVerificationFailed, want: "the registry has 1 bytes of the layer",
		},
		"a layer may not be seen": {
			blob:   func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
			reason: v1alpha1.ReasonRegistryUnauthorized, want: "(403)",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := built(t)
			inner := p.registry.Handler
			p.registry.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/") {
					tt.blob(w)
					return
				}
				inner.ServeHTTP(w, r)
			})
			code, printed := p.statusReport(t)
			p.assertFailed(t, "status-report", tt.reason, tt.want, code, printed)
		})
	}
}

func TestStepsThatComeTooEarly(t *testing.T) {
	p := newPod(t)
	code, printed := p.run(t, "print-report")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, printed, "there is no report")
	assert.NoFileExists(t, p.at("kiln/report.json"), "who only prints leaves nothing")

	code, printed = p.build(t)
	p.assertFailed(t, "build", v1alpha1.ReasonBuildFailed, "read what an earlier step left", code, printed)
	code, printed = p.statusReport(t)
	p.assertFailed(t, "status-report", v1alpha1.ReasonBuildFailed, "an earlier step has left nothing to verify", code, printed)
	_, printed = p.run(t, "print-report")
	assert.Contains(t, printed, "result  failed in status-report, BuildFailed: an earlier step")
}

func TestPackRefusesCallsThatMakeNoSense(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	for _, number := range []string{"-1", "1"} {
		code, printed = p.run(t, "pack", "--layer="+number, "--image-root="+p.at("image"))
		p.assertFailed(t, "build", v1alpha1.ReasonBuildFailed, "there is no layer "+number, code, printed)
	}
	code, printed = p.run(t, "pack", "--manifest", "--image-root="+p.at("image"))
	p.assertFailed(t, "build", v1alpha1.ReasonVerificationFailed, `left "/kubedl-model" out of its layer`, code, printed)
}

func TestABuildThatIsStoppedSaysSo(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	args := append([]string{"mount-check", "--shared=" + p.at("kiln"), "--termination-log=" + p.at("termination-log")}, p.registryArgs()...)
	args = append(args, p.storage...)
	code := Main(ctx, append(args, "--source="+p.at("source"), "--program="+os.Args[0]), &out, &out)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonBuildFailed, "the build was stopped", code, out.String())
}

func TestTheManifestInTheImage(t *testing.T) {
	p := built(t)
	manifest, found, err := readManifest(p.pull(t))
	require.NoError(t, err)
	require.True(t, found)
	raw, err := json.Marshal(manifest)
	require.NoError(t, err)
	assert.JSONEq(t, `{"entries": [
		{"path": ".", "type": "dir", "mode": "0755"},
		{"path": "config.json", "type": "file", "size": 2, "mode": "0644", "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		{"path": "w.bin", "type": "file", "size": 7, "mode": "0644", "sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"}
	]}`, string(raw))
}

func TestCallsThatAreWrong(t *testing.T) {
	tests := map[string]struct {
		args []string
		want int
		says string
	}{
		"no command":          {want: exitUsage, says: "usage: modelkiln-step COMMAND"},
		"an unknown command":  {args: []string{"bake"}, want: exitUsage, says: `there is no command "bake"`},
		"an unknown flag":     {args: []string{"pack", "--x"}, want: exitUsage, says: "flag provided but not defined"},
		"an argument":         {args: []string{"print-report", "x"}, want: exitUsage, says: "takes flags only"},
		"a value that is off": {args: []string{"mount-check", "--push-secret-required=perhaps"}, want: exitUsage, says: "perhaps"},
		"a call for help":     {args: []string{"build", "-h"}, want: exitDone, says: "-created-by"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			assert.Equal(t, tt.want, Main(t.Context(), tt.args, &out, &out))
			assert.Contains(t, out.String(), tt.says)
		})
	}
}

func TestSize(t *testing.T) {
	tests := map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 1 << 62: "4.0 EiB"}
	for bytes, want := range tests {
		assert.Equal(t, want, size(bytes))
	}
}

func TestUnescape(t *testing.T) {
	assert.Equal(t, "Ann & Bob\n", unescape("Ann+%26+Bob%0A"))
	assert.Equal(t, "100% Ann", unescape("100% Ann"))
}
