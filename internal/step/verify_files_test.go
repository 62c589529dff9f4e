package step

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// servedFiles is a model as the container that verifies its files has it.
type servedFiles struct {
	// dir has the directory model, and the list.
	dir    string
	digest string
}

// newServedFiles returns a model with a file in a directory, an empty file and a link.
func newServedFiles(t *testing.T) *servedFiles {
	t.Helper()
	s := &servedFiles{dir: t.TempDir()}
	require.NoError(t, os.MkdirAll(s.model("tok"), 0o755))
	for name, content := range map[string]string{"w.bin": "weights", "tok/vocab.txt": "vocab", "empty": ""} {
		require.NoError(t, os.WriteFile(s.model(name), []byte(content), 0o644))
	}
	require.NoError(t, os.Symlink("w.bin", s.model("latest.bin")))
	s.writeList(t, s.manifest(t))
	return s
}

func (s *servedFiles) model(name string) string { return filepath.Join(s.dir, "model", name) }
func (s *servedFiles) list() string             { return filepath.Join(s.dir, "manifest.json") }

// manifest returns the list of the files that there are.
func (s *servedFiles) manifest(t *testing.T) layer.Manifest {
	t.Helper()
	var m layer.Manifest
	require.NoError(t, fs.WalkDir(os.DirFS(s.model("")), ".", func(name string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		e := layer.ManifestEntry{Path: name, Type: typeOf(d.Type())}
		switch e.Type {
		case layer.File:
			content, err := os.ReadFile(s.model(name))
			require.NoError(t, err)
			sum := sha256.Sum256(content)
			e.Size, e.SHA256 = int64(len(content)), hex.EncodeToString(sum[:])
		case layer.Symlink:
			e.Link, err = os.Readlink(s.model(name))
			require.NoError(t, err)
		case layer.Dir:
		}
		m.Entries = append(m.Entries, e)
		return nil
	}))
	return m
}

// writeList writes the list that is signed.
func (s *servedFiles) writeList(t *testing.T, m layer.Manifest) {
	t.Helper()
	var list bytes.Buffer
	digest, err := modelimage.WriteManifest(&list, m)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.list(), list.Bytes(), 0o644))
	s.digest = "sha256:" + digest
}

// verify runs the command as the pod does.
func (s *servedFiles) verify(ctx context.Context) (code int, printed string) {
	var out bytes.Buffer
	code = Main(ctx, contract.VerifyFilesArguments(s.model(""), s.list(), s.digest), &out, &out)
	return code, out.String()
}

func TestVerifyFiles(t *testing.T) {
	t.Parallel()
	s := newServedFiles(t)
	code, printed := s.verify(t.Context())
	require.Equal(t, exitOK, code, printed)
	assert.Contains(t, printed, "comparing the SHA-256 of 3 files, 12 B, with those that were signed")
	assert.Contains(t, printed, "all files are those that were signed")
	// A copy has other modes.
	require.NoError(t, os.Chmod(s.model("w.bin"), 0o600))
	code, printed = s.verify(t.Context())
	assert.Equal(t, exitOK, code, printed)
}

func TestVerifyFilesRefuses(t *testing.T) {
	t.Parallel()
	sum := func(text string) string {
		digest := sha256.Sum256([]byte(text))
		return hex.EncodeToString(digest[:])
	}
	write := func(name, content string) func(*testing.T, *servedFiles) {
		return func(t *testing.T, s *servedFiles) {
			t.Helper()
			require.NoError(t, os.WriteFile(s.model(name), []byte(content), 0o644))
		}
	}
	remove := func(name string) func(*testing.T, *servedFiles) {
		return func(t *testing.T, s *servedFiles) { t.Helper(); require.NoError(t, os.RemoveAll(s.model(name))) }
	}
	link := func(name, target string) func(*testing.T, *servedFiles) {
		return func(t *testing.T, s *servedFiles) {
			t.Helper()
			require.NoError(t, os.RemoveAll(s.model(name)))
			require.NoError(t, os.Symlink(target, s.model(name)))
		}
	}
	const advice = ": this node does not have what was signed. Remove the image from the node, with crictl rmi, and recreate the pod"
	for name, tt := range map[string]struct {
		change func(*testing.T, *servedFiles)
		want   string
	}{
		"a changed file":                {write("w.bin", "WEIGHTS"), `"w.bin" has the SHA-256 ` + sum("WEIGHTS") + " instead of " + sum("weights") + advice},
		"a changed file in a directory": {write("tok/vocab.txt", "VOCAB"), `"tok/vocab.txt" has the SHA-256 `},
		"a longer file":                 {write("w.bin", "weights and more"), `"w.bin" has 16 bytes instead of 7` + advice},
		"a shorter file":                {write("w.bin", ""), `"w.bin" has 0 bytes instead of 7`},
		"an extra file":                 {write("tok/run.py", "import os"), `the model has "tok/run.py", which is not in the list of its files` + advice},
		"an extra file with a name that controls terminals": {write("\x1b[2J", ""), `the model has "\x1b[2J"`},
		"a file that was removed":                           {remove("w.bin"), `the model lacks "w.bin"` + advice},
		"a directory that was removed":                      {remove("tok"), `the model lacks "tok"`},
		"a link instead of a file":                          {link("w.bin", "/etc/passwd"), `"w.bin" has the type "symlink" instead of "file"` + advice},
		"a link to elsewhere":                               {link("latest.bin", "tok/vocab.txt"), `the link "latest.bin" leads to "tok/vocab.txt" instead of "w.bin"` + advice},
		"a link instead of a directory":                     {link("tok", "/etc"), `"tok" has the type "symlink" instead of "dir"`},
		"a pipe instead of a file": {func(t *testing.T, s *servedFiles) {
			t.Helper()
			require.NoError(t, os.Remove(s.model("w.bin")))
			require.NoError(t, syscall.Mkfifo(s.model("w.bin"), 0o644))
		}, `"w.bin" has the type "special file" instead of "file"`},
		"another list": {func(t *testing.T, s *servedFiles) {
			t.Helper()
			write("w.bin", "WEIGHTS")(t, s)
			signed := s.digest
			s.writeList(t, s.manifest(t))
			s.digest, signed = signed, s.digest
			assert.NotEqual(t, signed, s.digest)
		}, "the list of files in the image has the digest sha256:"},
		"a list with something after its end": {func(t *testing.T, s *servedFiles) {
			t.Helper()
			content, err := os.ReadFile(s.list())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(s.list(), append(content, ' '), 0o644))
		}, "the list of files in the image has the digest sha256:"},
		"a list that is no JSON": {func(t *testing.T, s *servedFiles) {
			t.Helper()
			require.NoError(t, os.WriteFile(s.list(), []byte("["), 0o644))
		}, "the list of files in the image is damaged: it cannot be decoded: it is not a JSON object" + advice},
		"no list":   {func(t *testing.T, s *servedFiles) { t.Helper(); require.NoError(t, os.Remove(s.list())) }, "the image lacks /.modelkiln/manifest.json" + advice},
		"no digest": {func(_ *testing.T, s *servedFiles) { s.digest = "" }, "instead of : this node"},
		"a list without SHA-256": {func(t *testing.T, s *servedFiles) {
			t.Helper()
			m := s.manifest(t)
			for i := range m.Entries {
				m.Entries[i].SHA256 = ""
			}
			s.writeList(t, m)
		}, `the image does not list the SHA-256 of "empty": build it with spec.build.fileDigests: Record`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServedFiles(t)
			tt.change(t, s)
			code, printed := s.verify(t.Context())
			assert.Equal(t, exitFailed, code)
			assert.Contains(t, printed, "FAILED "+v1alpha1.ReasonVerificationFailed+": ")
			assert.Contains(t, printed, tt.want)
			assert.NotContains(t, printed, "all files are those")
		})
	}
}

// A pod that was not given its volumes does not start either.
func TestVerifyFilesUnreadable(t *testing.T) {
	t.Parallel()
	s := newServedFiles(t)
	require.NoError(t, os.RemoveAll(s.model("")))
	code, printed := s.verify(t.Context())
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, printed, "open the model: ")

	s = newServedFiles(t)
	require.NoError(t, os.Remove(s.list()))
	require.NoError(t, os.Mkdir(s.list(), 0o755))
	code, printed = s.verify(t.Context())
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, printed, "read the list of files: ")
}

// The pod may be deleted while a large model is read.
func TestVerifyFilesTerminated(t *testing.T) {
	t.Parallel()
	s := newServedFiles(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, printed := s.verify(ctx)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, printed, v1alpha1.ReasonPodLost)
}

// The signature has the digest of the list in the image.
func TestVerifyFilesOfBuiltImage(t *testing.T) {
	for engine, newPod := range engines {
		t.Run(engine, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/tok/vocab.txt", "vocab")
			p.write(t, "source/w.bin", "weights")
			p.addKey(t)
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)

			s := &servedFiles{dir: t.TempDir(), digest: p.signedList(t)}
			require.NoError(t, os.WriteFile(s.list(), p.listOfFiles(t), 0o644))
			require.NoError(t, os.CopyFS(s.model(""), os.DirFS(p.path("source"))))

			code, printed = s.verify(t.Context())
			require.Equal(t, exitOK, code, printed)
			require.NoError(t, os.WriteFile(s.model("w.bin"), []byte(strings.ToUpper("weights")), 0o644))
			code, printed = s.verify(t.Context())
			assert.Equal(t, exitFailed, code, printed)
		})
	}
}

// signedList returns the digest of the list of files that the signature in the report has.
func (p *pod) signedList(t *testing.T) string {
	t.Helper()
	signature := p.report(t).Image.Signature
	require.NotNil(t, signature)
	digest, err := sign.ListDigest([]byte(signature.Bundle), p.digest(t))
	require.NoError(t, err)
	return digest
}

// listOfFiles returns the list of files in the image at the tag.
func (p *pod) listOfFiles(t *testing.T) []byte {
	t.Helper()
	for _, e := range p.takeApart(t).last {
		if e.Name == layer.ManifestFile {
			return []byte(e.content)
		}
	}
	require.Fail(t, "no list")
	return nil
}
