package command

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
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

// documentedCommand matches a command line in an example or in a document.
var documentedCommand = regexp.MustCompile(`(?m)^ *(?:\$ )?kubectl kiln ([a-z].*)$`)

// The examples of the commands and of the documents have the arguments and the flags that
// the commands take.
func TestExamples(t *testing.T) {
	newRoot := func() *cobra.Command { return (&kiln{config: genericclioptions.NewConfigFlags(true)}).root() }
	texts := map[string]string{}
	for _, cmd := range newRoot().Commands() {
		texts[cmd.Name()] = cmd.Example
	}
	for _, pattern := range []string{"*.md", "api/docs/*.md", "deploy/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, path := range paths {
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			texts[path] = string(raw)
		}
	}
	count := 0
	for where, text := range texts {
		for _, match := range documentedCommand.FindAllStringSubmatch(text, -1) {
			count++
			cmd, args, err := newRoot().Find(strings.Fields(match[1]))
			require.NoError(t, err, "%s: %s", where, match[1])
			require.NoError(t, cmd.ParseFlags(args), "%s: %s", where, match[1])
			assert.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), "%s: %s", where, match[1])
			assert.NoError(t, cmd.ValidateFlagGroups(), "%s: %s", where, match[1])
		}
	}
	assert.Greater(t, count, 20)
}
