package tool

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
	"github.com/modelkiln/modelkiln/test/cluster/internal/progress"
)

// newCheckout creates a clone with the pin of one tool that compiles quickly.
func newCheckout(t *testing.T, program string) (checkout.Checkout, definition) {
	t.Helper()
	co := checkout.Checkout{Root: t.TempDir(), Cache: t.TempDir()}
	source := co.Source("tools", "a")
	require.NoError(t, os.MkdirAll(source, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(source, "go.mod"), []byte("module example.com/tools/a\n\ngo 1.26\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(source, "main.go"), []byte(program), 0o644))
	return co, definition{
		name:   "a",
		module: "example.com/a",
		links:  map[string]string{"other-name": "a"},
		build:  func(b builder) error { return b.goBuild(b.tool.source, ".") },
	}
}

func TestEnsureCompilesOnce(t *testing.T) {
	co, def := newCheckout(t, "package main\n\nfunc main() {}\n")
	tool := Tool{definition: def, Version: "v1.2.3", Dir: filepath.Join(co.Cache, "tools", "a-v1.2.3"), source: co.Source("tools", "a")}
	report := progress.New(io.Discard)
	require.NoError(t, ensure(t.Context(), co, report, tool))

	first, err := os.Stat(tool.Program("a"))
	require.NoError(t, err)
	link, err := os.Readlink(tool.Program("other-name"))
	require.NoError(t, err)
	assert.Equal(t, "a", link)

	require.NoError(t, ensure(t.Context(), co, report, tool))
	second, err := os.Stat(tool.Program("a"))
	require.NoError(t, err)
	assert.True(t, os.SameFile(first, second))

	left, err := filepath.Glob(filepath.Join(co.Cache, "tools", ".a-build-*"))
	require.NoError(t, err)
	assert.Empty(t, left, "the work directory is removed")
}

func TestEnsureFails(t *testing.T) {
	co, def := newCheckout(t, "package main\n\nfunc main() { undefined() }\n")
	tool := Tool{definition: def, Version: "v1.2.3", Dir: filepath.Join(co.Cache, "tools", "a-v1.2.3"), source: co.Source("tools", "a")}

	err := ensure(t.Context(), co, progress.New(io.Discard), tool)
	require.ErrorContains(t, err, "cannot compile a v1.2.3")
	require.ErrorContains(t, err, co.Log("compile-a"))
	require.ErrorContains(t, err, "undefined: undefined")
	assert.NoDirExists(t, tool.Dir)
}

func TestEnsureRemovesLeftovers(t *testing.T) {
	co, def := newCheckout(t, "package main\n\nfunc main() {}\n")
	leftover := filepath.Join(co.Cache, "tools", ".a-build-123", "bin")
	require.NoError(t, os.MkdirAll(leftover, 0o755))
	tool := Tool{definition: def, Version: "v1.2.3", Dir: filepath.Join(co.Cache, "tools", "a-v1.2.3"), source: co.Source("tools", "a")}
	require.NoError(t, ensure(t.Context(), co, progress.New(io.Discard), tool))
	assert.NoDirExists(t, leftover)
}
