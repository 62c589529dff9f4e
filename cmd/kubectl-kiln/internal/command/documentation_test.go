package command

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// The document lists the commands in the order of the program, with their descriptions.
func TestDocumentation(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "api", "docs", "kubectl-kiln.md"))
	require.NoError(t, err)
	var documented, want []string
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "| `") {
			documented = append(documented, strings.TrimSpace(line))
		}
	}
	k := &kiln{config: genericclioptions.NewConfigFlags(true)}
	cobraCommands := k.root().Commands()
	for _, cmd := range cobraCommands {
		want = append(want, fmt.Sprintf("| `%s` | %s |", cmd.Name(), cmd.Short))
		assert.NotEmpty(t, cmd.Short, cmd.Name())
	}
	assert.ElementsMatch(t, want, documented)
}
