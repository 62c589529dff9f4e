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

// newCheckout makes a clone with the pin of one tool that compiles in no time.
func newCheckout(t *testing.T, program string) (checkout.Checkout, definition) {
	t.Helper()
	here := checkout.Checkout{Root: t.TempDir(), Cache: t.TempDir()}
	source := here.Source("tools", "a")
	require.NoError(t, os.MkdirAll(source, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(source, "go.mod"), []byte("module example.com/tools/a\n\ngo 1.26\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(source, "main.go"), []byte(program), 0o644))
	return here, definition{
		name:   "a",
		module: "example.com/a",
		links:  map[string]string{"other-name": "a"},
		build:  func(b builder) error { return b.goBuild(b.tool.source, ".") },
	}
}

func TestAToolIsCompiledOnce(t *testing.T) {
	here, def := newCheckout(t, "package main\n\nfunc main() {}\n")
	tool := Tool{definition: def, Version: "v1.2.3", Dir: filepath.Join(here.Cache, "tools", "a-v1.2.3"), source: here.Source("tools", "a")}
	report := progress.New(io.Discard)
	require.NoError(t, ensure(t.Context(), here, report, tool))

	first, err := os.Stat(tool.Program("a"))
	require.NoError(t, err)
	link, err := os.Readlink(tool.Program("other-name"))
	require.NoError(t, err)
	assert.Equal(t, "a", link)

	require.NoError(t, ensure(t.Context(), here, report, tool))
	second, err := os.Stat(tool.Program("a"))
	require.NoError(t, err)
	assert.True(t, os.SameFile(first, second))

	left, err := filepath.Glob(filepath.Join(here.Cache, "tools", ".a-build-*"))
	require.NoError(t, err)
	assert.Empty(t, left, "the folder that it was compiled in")
}

func TestAToolThatDoesNotCompileLeavesNothingAndSaysWhy(t *testing.T) {
	here, def := newCheckout(t, "package main\n\nfunc main() { undefined() }\n")
	tool := Tool{definition: def, Version: "v1.2.3", Dir: filepath.Join(here.Cache, "tools", "a-v1.2.3"), source: here.Source("tools", "a")}

	err := ensure(t.Context(), here, progress.New(io.Discard), tool)
	require.ErrorContains(t, err, "a v1.2.3 does not compile")
	require.ErrorContains(t, err, here.Log("compile-a"))
	require.ErrorContains(t, err, "undefined: undefined")
	assert.NoDirExists(t, tool.Dir)
}

func TestWhatAKilledCompileLeftIsRemoved(t *testing.T) {
	here, def := newCheckout(t, "package main\n\nfunc main() {}\n")
	leftover := filepath.Join(here.Cache, "tools", ".a-build-123", "bin")
	require.NoError(t, os.MkdirAll(leftover, 0o755))
	tool := Tool{definition: def, Version: "v1.2.3", Dir: filepath.Join(here.Cache, "tools", "a-v1.2.3"), source: here.Source("tools", "a")}
	require.NoError(t, ensure(t.Context(), here, progress.New(io.Discard), tool))
	assert.NoDirExists(t, leftover)
}
