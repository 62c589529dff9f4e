package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLegalFiles(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		files []string
		want  []string
	}{
		"of the module":  {[]string{"LICENSE", "NOTICE", "README.md", "license.go"}, []string{"LICENSE", "NOTICE"}},
		"of the package": {[]string{"pkg/LICENSE.txt"}, []string{"pkg/LICENSE.txt"}},
		"of both":        {[]string{"LICENSE-APACHE", "pkg/COPYING", "other/LICENSE"}, []string{"LICENSE-APACHE", "pkg/COPYING"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := legalFiles([]linkedPackage{packageWith(t, tt.files...)})
			require.NoError(t, err)
			var want []string
			for _, file := range tt.want {
				want = append(want, "third_party/example.com/m@v1.2.3/"+file)
			}
			assert.ElementsMatch(t, want, slices.Collect(maps.Keys(found)))
		})
	}
}

func TestLegalFiles_noLicense(t *testing.T) {
	t.Parallel()
	for _, files := range [][]string{nil, {"NOTICE"}, {"README.md"}, {"license.go"}, {"other/LICENSE"}} {
		_, err := legalFiles([]linkedPackage{packageWith(t, files...)})
		require.ErrorContains(t, err, "of module example.com/m@v1.2.3", files)
	}
}

// packageWith returns a package in the directory pkg of a module with files.
func packageWith(t *testing.T, files ...string) linkedPackage {
	t.Helper()
	dir := t.TempDir()
	for _, file := range append(files, "pkg/pkg.go") {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(file), 0o600))
	}
	return linkedPackage{Dir: filepath.Join(dir, "pkg"), Module: &module{Path: "example.com/m", Version: "v1.2.3", Dir: dir}}
}

// The archives of kubectl kiln, which is a module of its own, contain its licenses too.
func TestLegalFiles_plugin(t *testing.T) {
	t.Parallel()
	packages, err := linkedPackages(t.Context(), filepath.Join("..", "..", "cmd", "kubectl-kiln"), []string{"linux/amd64", "darwin/arm64"})
	require.NoError(t, err)
	found, err := legalFiles(packages)
	require.NoError(t, err)
	assert.Contains(t, found, "LICENSE")
}
