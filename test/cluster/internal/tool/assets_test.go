package tool

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
)

func TestAssetsAreLinksToTheCompiledPrograms(t *testing.T) {
	here := checkout.Checkout{Cache: t.TempDir()}
	tools := map[string]Tool{"kubernetes": {Dir: "/tools/kubernetes"}, "etcd": {Dir: "/tools/etcd"}}
	folder, err := Assets(here, tools)
	require.NoError(t, err)

	want := map[string]string{
		"etcd":           "/tools/etcd/etcd",
		"kube-apiserver": "/tools/kubernetes/kube-apiserver",
		"kubectl":        "/tools/kubernetes/kubectl",
	}
	for name, program := range want {
		got, err := os.Readlink(filepath.Join(folder, name))
		require.NoError(t, err)
		assert.Equal(t, program, got)
	}

	again, err := Assets(here, tools)
	require.NoError(t, err)
	assert.Equal(t, folder, again)

	tools["etcd"] = Tool{Dir: "/tools/etcd-newer"}
	newer, err := Assets(here, tools)
	require.NoError(t, err)
	assert.NotEqual(t, folder, newer, "another version is another folder, so that a test that runs keeps its own")
}

func TestAFolderThatWasNotFilledDoesNotAppear(t *testing.T) {
	path := filepath.Join(t.TempDir(), "assets")
	want := errors.New("broken")
	_, err := linkFolder(path, func(string) error { return want })
	require.ErrorIs(t, err, want)
	assert.NoFileExists(t, path)
}
