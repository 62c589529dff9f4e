package registries

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// compileCosign compiles cosign, which takes longer than all other programs together, when
// the first test needs it.
var compileCosign = sync.OnceValue(build{dir: "tools/cosign", arguments: []string{"tool"}}.run)

// cosignCommands are the commands of api/docs/verify.md by which anyone verifies an image,
// IMAGE, with cosign.pub.
func cosignCommands(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../api/docs/verify.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## Verify with public tools\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	var commands []string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "cosign verify") {
			commands = append(commands, strings.TrimSpace(line))
		}
	}
	require.Len(t, commands, 3, "the image, its provenance, and the image in the format Tag")
	return commands
}

// signedImage is an image in a registry, and a directory with cosign.pub, as its users have
// them.
type signedImage struct {
	*target
	pod    *pod
	digest string
}

// sign builds and signs an image.
func (g *target) sign(t *testing.T) signedImage {
	t.Helper()
	p := g.newPod(t)
	p.signingDir = tempDir(t)
	writeKey(t, p.signingDir)
	p.write(t, "w.bin", "weights")
	p.write(t, "README.md", "---\nlicense: mit\n---\n")
	left, outcome := p.runRetried(t)
	require.NotNil(t, left.Image, outcome)
	require.NotNil(t, left.Image.Signature, outcome)
	if left.Image.HeldBack != "" {
		g.front.Repair()
		p.replace(t)
		p.known = left.Image.Digest
		left, outcome = p.runRetried(t)
		require.Equal(t, ready, outcome)
	}
	assertAttests(t, left)
	return signedImage{target: g, pod: p, digest: left.Image.Digest}
}

// verify runs a command for the image with a digest, and returns what it prints.
func (s signedImage) verify(t *testing.T, command, digest string) (printed string, err error) {
	t.Helper()
	require.NoError(t, compileCosign())
	shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", command)
	shell.Dir = s.pod.signingDir
	shell.Env = []string{
		"PATH=" + programs, "HOME=" + s.pod.dir, "IMAGE=" + s.pullHost + "/" + s.pod.repository + "@" + digest,
		"DOCKER_CONFIG=" + s.pod.path("push-secret"),
	}
	if s.authority != "" {
		shell.Env = append(shell.Env, "SSL_CERT_FILE="+s.pod.path("registry-ca/ca.crt"))
	}
	var out bytes.Buffer
	shell.Stdout, shell.Stderr = &out, &out
	err = shell.Run()
	return out.String(), err
}

// assertRefused asserts that no command verifies the image with a digest.
func (s signedImage) assertRefused(t *testing.T, digest, says string) {
	t.Helper()
	for _, command := range cosignCommands(t) {
		printed, err := s.verify(t, command, digest)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, command)
		assert.Regexp(t, says, printed, command)
	}
}

// cosign verifies what the steps sign, with the commands that are documented.
func TestCosign(t *testing.T) {
	t.Parallel()
	for _, r := range slices.Concat(realRows, imitatedRows()) {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			signed := r.start(t).sign(t)
			for number, command := range cosignCommands(t) {
				printed, err := signed.verify(t, command, signed.digest)
				require.NoError(t, err, "%s: %s", command, printed)
				assert.Contains(t, printed, "The signatures were verified against the specified public key", command)
				if number == 0 {
					assert.Contains(t, printed, `"model.kubedl.io/files":"sha256:`)
				}
			}
		})
	}
}

func TestCosignRefuses(t *testing.T) {
	t.Parallel()
	for _, r := range realRows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			signed := r.start(t).sign(t)

			other := signed.pullHost + "/" + signed.pod.repository + ":other"
			pushImage(t, other, v1.Config{}, signed.options...)
			ref, err := name.ParseReference(other, name.Insecure)
			require.NoError(t, err)
			unsigned, err := remote.Head(ref, signed.options...)
			require.NoError(t, err)
			signed.assertRefused(t, unsigned.Digest.String(), "no signatures found|no matching attestations: *\n")

			// Another user attaches all signatures and attestations of the image to it.
			signed.attachTo(t, *unsigned)
			signed.assertRefused(t, unsigned.Digest.String(), "does not match any digest in statement|invalid or missing digest in claim")

			public, err := os.ReadFile(writeKey(t, tempDir(t)))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(signed.pod.signingDir, "cosign.pub"), public, 0o644))
			signed.assertRefused(t, signed.digest, "accepted signatures do not match threshold|invalid signature when validating")
		})
	}
}

// attachTo attaches the signatures and attestations of the image to another one.
func (s signedImage) attachTo(t *testing.T, other v1.Descriptor) {
	t.Helper()
	repository, err := name.NewRepository(s.pullHost+"/"+s.pod.repository, name.Insecure)
	require.NoError(t, err)
	index, err := remote.Referrers(repository.Digest(s.digest), s.options...)
	require.NoError(t, err)
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, 4)
	for _, d := range manifest.Manifests {
		artifact, err := remote.Image(repository.Digest(d.Digest.String()), s.options...)
		require.NoError(t, err)
		moved := mutate.Subject(artifact, other).(v1.Image)
		digest, err := moved.Digest()
		require.NoError(t, err)
		require.NoError(t, remote.Write(repository.Digest(digest.String()), moved, s.options...))
	}
	tagOf := func(digest string) name.Tag { return repository.Tag(strings.Replace(digest, ":", "-", 1) + ".sig") }
	signatures, err := remote.Image(tagOf(s.digest), s.options...)
	require.NoError(t, err)
	require.NoError(t, remote.Write(tagOf(other.Digest.String()), signatures, s.options...))
}
