package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEnvironment(t *testing.T) {
	tests := map[string]string{
		"a plain path":               "/src/modelkiln/.cluster",
		"a path with a space":        "/home/ann/my models/.cluster",
		"a path with a quote":        "/home/ann/ann's/.cluster",
		"a path with a dollar":       "/home/$USER/`id`/.cluster",
		"a path with a double quote": `/home/"ann"\n/.cluster`,
	}
	for name, dir := range tests {
		t.Run(name, func(t *testing.T) {
			env := filepath.Join(t.TempDir(), "env")
			require.NoError(t, os.WriteFile(env, []byte(environment(dir+"/kubeconfig", "10.213.0.2:5000", dir+"/bin")), 0o644))

			shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", `. "$0"; printf '%s\n%s\n%s' "$KUBECONFIG" "$REGISTRY" "$PATH"`, env)
			shell.Env = []string{"PATH=/bin:/opt/my tools"}
			got, err := shell.Output()
			require.NoError(t, err)
			assert.Equal(t, dir+"/kubeconfig\n10.213.0.2:5000\n"+dir+"/bin:/bin:/opt/my tools", string(got))
		})
	}
}

func TestDownCommand(t *testing.T) {
	assert.Equal(t, "make -C /src/modelkiln cluster-down", downCommand("/src/modelkiln"))
	assert.Equal(t, "make -C '/src/my modelkiln' cluster-down", downCommand("/src/my modelkiln"))
}
