package image

import (
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// programs creates a directory of files in place of Modelkiln's programs, and returns its path.
func programs(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range ModelkilnPrograms {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content[name]), 0o755))
	}
	return dir
}

func TestModelkilnSpecs(t *testing.T) {
	dir := programs(t, nil)
	got, err := ModelkilnSpecs(dir)
	require.NoError(t, err)
	require.Len(t, got, 2)
	for i, program := range []string{"modelkiln", "modelkiln-step"} {
		assert.Equal(t, map[string]File{
			"/ko-app/" + program:                 {Source: filepath.Join(dir, program)},
			"/etc/ssl/certs/ca-certificates.crt": {Source: "/etc/ssl/certs/ca-certificates.crt", Mode: 0o644},
		}, got[i].Files)
		assert.Equal(t, v1.Config{Entrypoint: []string{"/ko-app/" + program}, User: "65532:65532"}, got[i].Config)
		assert.Regexp(t, `^ghcr\.io/modelkiln/`+program+`:content-[0-9a-f]{12}$`, got[i].Name)
	}
}

func TestModelkilnSpecs_Tags(t *testing.T) {
	tags := func(content map[string]string) (operator, step string) {
		t.Helper()
		specs, err := ModelkilnSpecs(programs(t, content))
		require.NoError(t, err)
		return specs[0].Name, specs[1].Name
	}
	operator, step := tags(map[string]string{"modelkiln": "operator", "modelkiln-step": "step"})

	sameOperator, sameStep := tags(map[string]string{"modelkiln": "operator", "modelkiln-step": "step"})
	assert.Equal(t, operator, sameOperator, "unchanged programs roll nothing out")
	assert.Equal(t, step, sameStep)

	sameOperator, changedStep := tags(map[string]string{"modelkiln": "operator", "modelkiln-step": "changed"})
	assert.Equal(t, operator, sameOperator, "a changed step does not restart the operator")
	assert.NotEqual(t, step, changedStep)
}
