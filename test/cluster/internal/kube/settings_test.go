package kube

import (
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
	"github.com/modelkiln/modelkiln/test/cluster/internal/tool"
)

func settings() Settings {
	return Settings{
		Network: node.Network{Host: netip.MustParsePrefix("10.213.0.1/24"), Node: netip.MustParsePrefix("10.213.0.2/24")},
		Tools: map[string]tool.Tool{
			"kubernetes": {Dir: "/tools/kubernetes"},
			"etcd":       {Dir: "/tools/etcd"},
			"containerd": {Dir: "/tools/containerd"},
		},
	}
}

func render(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := settings().configFiles()
	require.NoError(t, err)
	return files
}

func TestTemplatePaths(t *testing.T) {
	templates, err := fs.ReadDir(templates, "config")
	require.NoError(t, err)
	files := templatePaths("registry")
	for _, template := range templates {
		assert.Contains(t, files, template.Name())
	}
	assert.Len(t, files, len(templates))
}

func TestSettingsAddresses(t *testing.T) {
	assert.Equal(t, "https://10.213.0.2:6443", settings().APIServer())
	assert.Equal(t, "10.213.0.2:5000", settings().Registry())
}

func TestConfigFilesContainerd(t *testing.T) {
	got := string(render(t)["/var/lib/modelkiln-cluster/containerd.toml"])
	assert.Contains(t, got, "root = '/var/lib/modelkiln-cluster/containerd'")
	assert.Contains(t, got, "address = '"+ContainerdSocket+"'")
	assert.Contains(t, got, "sandbox = '"+image.Pause+"'")
	assert.Contains(t, got, "config_path = '/var/lib/modelkiln-cluster/registries'")
	assert.Contains(t, got, "path = '/var/lib/modelkiln-cluster/containerd-opt'", "otherwise /opt/containerd remains on the machine")
	assert.Contains(t, got, "restrict_oom_score_adj = true", "otherwise pods do not start without CAP_SYS_RESOURCE")
}

func TestConfigFilesRegistryOverPlainHTTP(t *testing.T) {
	want := "[host.'http://10.213.0.2:5000']\n  capabilities = ['pull', 'resolve', 'push']\n"
	got := render(t)["/var/lib/modelkiln-cluster/registries/10.213.0.2:5000/hosts.toml"]
	assert.Equal(t, want, string(got))
}

func TestConfigFilesKubelet(t *testing.T) {
	var got map[string]any
	require.NoError(t, yaml.UnmarshalStrict(render(t)["/var/lib/modelkiln-cluster/kubelet.yaml"], &got))
	want := map[string]any{
		"kind":                     "KubeletConfiguration",
		"cgroupRoot":               "/modelkiln-cluster",
		"cgroupDriver":             "cgroupfs",
		"failCgroupV1":             false,
		"failSwapOn":               false,
		"containerRuntimeEndpoint": "unix://" + ContainerdSocket,
		"resolvConf":               "",
		"evictionHard":             map[string]any{},
		"podLogsDir":               "/var/lib/modelkiln-cluster/pod-logs",
	}
	for field, value := range want {
		assert.Equal(t, value, got[field], field)
	}
}

func TestConfigFilesAreWellFormed(t *testing.T) {
	files := render(t)
	for _, name := range []string{"kube-proxy.yaml", "cni-config/10-modelkiln.conflist"} {
		var got map[string]any
		require.NoError(t, yaml.UnmarshalStrict(files[filepath.Join(node.DataDir, name)], &got), name)
		assert.NotEmpty(t, got, name)
	}
}

func TestSettingsDigest(t *testing.T) {
	digest := func(s Settings) string {
		t.Helper()
		digest, err := s.Digest()
		require.NoError(t, err)
		return digest
	}
	want := digest(settings())
	assert.Equal(t, want, digest(settings()), "the same settings")

	upgraded := settings()
	upgraded.Tools["etcd"] = tool.Tool{Dir: "/tools/etcd-newer"}
	assert.NotEqual(t, want, digest(upgraded), "another version of a program")

	moved := settings()
	moved.Network.Node = netip.MustParsePrefix("10.213.1.2/24")
	assert.NotEqual(t, want, digest(moved), "another address")

	rebuilt := settings()
	rebuilt.Images = map[string]string{"modelkiln.test/kaniko:v1.25.5": "sha256:0123"}
	assert.NotEqual(t, want, digest(rebuilt), "another image")
}

func TestIssue(t *testing.T) {
	dir := t.TempDir()
	ca, err := newAuthority(dir)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca.pem))

	tests := map[string]struct {
		id     identity
		verify x509.VerifyOptions
	}{
		"a server certificate is valid for its address": {
			id:     identity{user: "kube-apiserver", names: []string{"kubernetes.default.svc"}, addresses: []string{"10.213.0.2"}},
			verify: x509.VerifyOptions{DNSName: "10.213.0.2", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		},
		"a server certificate is valid for its name": {
			id:     identity{user: "kube-apiserver", names: []string{"kubernetes.default.svc"}, addresses: []string{"10.213.0.2"}},
			verify: x509.VerifyOptions{DNSName: "kubernetes.default.svc", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		},
		"a client certificate names its user and groups": {
			id:     identity{user: "system:node:kind-control-plane", groups: []string{"system:nodes"}},
			verify: x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			content, _, err := ca.issue(tt.id)
			require.NoError(t, err)
			block, _ := pem.Decode(content)
			require.NotNil(t, block)
			cert, err := x509.ParseCertificate(block.Bytes)
			require.NoError(t, err)
			assert.Equal(t, tt.id.user, cert.Subject.CommonName)
			assert.Equal(t, tt.id.groups, cert.Subject.Organization)
			tt.verify.Roots = roots
			_, err = cert.Verify(tt.verify)
			require.NoError(t, err)
		})
	}
}

func TestWriteKubeconfig(t *testing.T) {
	dir := t.TempDir()
	ca, err := newAuthority(dir)
	require.NoError(t, err)
	path := filepath.Join(dir, "out", "kubeconfig")
	require.NoError(t, ca.writeKubeconfig(path, "https://10.213.0.2:6443", identity{user: "admin"}))

	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode(), "only its owner may read the client key")

	content, err := os.ReadFile(path)
	require.NoError(t, err)
	var got struct {
		Clusters []struct{ Cluster struct{ Server string } }
		Contexts []struct {
			Context struct{ Cluster, User string }
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &got))
	require.Len(t, got.Clusters, 1)
	assert.Equal(t, "https://10.213.0.2:6443", got.Clusters[0].Cluster.Server)
	require.Len(t, got.Contexts, 1)
	assert.Equal(t, "admin", got.Contexts[0].Context.User)
}
