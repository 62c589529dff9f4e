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

func TestAssets(t *testing.T) {
	co := checkout.Checkout{Cache: t.TempDir()}
	tools := map[string]Tool{"kubernetes": {Dir: "/tools/kubernetes"}, "etcd": {Dir: "/tools/etcd"}}
	dir, err := Assets(co, tools, Kubernetes)
	require.NoError(t, err)

	want := map[string]string{
		"etcd":           "/tools/etcd/etcd",
		"kube-apiserver": "/tools/kubernetes/kube-apiserver",
		"kubectl":        "/tools/kubernetes/kubectl",
	}
	for name, program := range want {
		got, err := os.Readlink(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, program, got)
	}

	tools[OldestKubernetes] = Tool{Dir: "/tools/oldest"}
	oldest, err := Assets(co, tools, OldestKubernetes)
	require.NoError(t, err)
	for name, want := range map[string]string{"etcd": "/tools/etcd/etcd", "kube-apiserver": "/tools/oldest/kube-apiserver", "kubectl": "/tools/kubernetes/kubectl"} {
		got, err := os.Readlink(filepath.Join(oldest, name))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}

	again, err := Assets(co, tools, Kubernetes)
	require.NoError(t, err)
	assert.Equal(t, dir, again)

	tools["etcd"] = Tool{Dir: "/tools/etcd-newer"}
	newer, err := Assets(co, tools, Kubernetes)
	require.NoError(t, err)
	assert.NotEqual(t, dir, newer, "another version has another directory, so that running tests keep theirs")
}

func TestCreateDirIsAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "assets")
	want := errors.New("broken")
	_, err := createDir(path, func(string) error { return want })
	require.ErrorIs(t, err, want)
	assert.NoFileExists(t, path)
}
