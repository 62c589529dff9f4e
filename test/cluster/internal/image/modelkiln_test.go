package image

import (
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// programs makes a folder of what stands for Modelkiln's programs.
func programs(t *testing.T, content string) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range ModelkilnPrograms {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o755))
	}
	return folder
}

func TestModelkilnSpec(t *testing.T) {
	folder := programs(t, "content")
	got, err := ModelkilnSpec(folder)
	require.NoError(t, err)
	assert.Equal(t, map[string]File{
		"/modelkiln":                         {Source: filepath.Join(folder, "modelkiln")},
		"/modelkiln-step":                    {Source: filepath.Join(folder, "modelkiln-step")},
		"/etc/ssl/certs/ca-certificates.crt": {Source: "/etc/ssl/certs/ca-certificates.crt", Mode: 0o644},
	}, got.Files)
	assert.Equal(t, v1.Config{Entrypoint: []string{"/modelkiln"}, User: "65532:65532"}, got.Config)
}

func TestTheTagFollowsThePrograms(t *testing.T) {
	original, err := ModelkilnSpec(programs(t, "content"))
	require.NoError(t, err)
	require.Regexp(t, `^ghcr\.io/modelkiln/modelkiln:content-[0-9a-f]{12}$`, original.Name)

	same, err := ModelkilnSpec(programs(t, "content"))
	require.NoError(t, err)
	assert.Equal(t, original.Name, same.Name, "the same programs roll nothing")

	changed, err := ModelkilnSpec(programs(t, "changed"))
	require.NoError(t, err)
	assert.NotEqual(t, original.Name, changed.Name, "a changed program rolls the Deployment")
}
