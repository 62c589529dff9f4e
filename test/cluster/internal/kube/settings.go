// Package kube knows how the programs of Kubernetes are called and configured for a cluster of one node.
package kube

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
	"github.com/modelkiln/modelkiln/test/cluster/internal/tool"
)

// CNIPrograms is where Debian's package containernetworking-plugins puts them.
const CNIPrograms = "/usr/lib/cni"

// ContainerdSocket is where the node's containerd is reached, also from outside of the node.
const ContainerdSocket = node.Home + "/containerd.sock"

// EFSStandIn is where the node has the program that stands in for the CSI driver of AWS EFS.
const EFSStandIn = node.Home + "/efs-stand-in"

const registryPort = 5000

//go:embed config
var templates embed.FS

// configFiles are the programs' configuration files: a template, and the path under node.Home that it is written to.
func configFiles(registry string) map[string]string {
	return map[string]string{
		"kubelet.yaml":    "kubelet.yaml",
		"kube-proxy.yaml": "kube-proxy.yaml",
		"containerd.toml": "containerd.toml",
		"cni.conflist":    "cni-config/10-modelkiln.conflist",
		"hosts.toml":      filepath.Join("registries", registry, "hosts.toml"),
	}
}

// Settings are all that the programs of one cluster are started with.
type Settings struct {
	Network node.Network
	Tools   map[string]tool.Tool
	// Images are the digests of the images that the node is given when it starts, by name.
	Images map[string]string
	// StandIns is a digest of the programs that stand in for file servers.
	StandIns string
}

// APIServer is the address of the API, from the machine and from the node.
func (s Settings) APIServer() string {
	return fmt.Sprintf("https://%s:6443", s.nodeAddress())
}

// Registry is the address of the registry, the same from the machine, the node and pods.
func (s Settings) Registry() string {
	return fmt.Sprintf("%s:%d", s.nodeAddress(), registryPort)
}

func (s Settings) nodeAddress() string {
	return s.Network.Node.Addr().String()
}

func pki(name string) string {
	return filepath.Join(node.Home, "pki", name)
}

// files renders the configuration files, by path.
func (s Settings) files() (map[string][]byte, error) {
	values := map[string]string{
		"Home":             node.Home,
		"PKI":              pki(""),
		"CgroupRoot":       node.CgroupRoot,
		"ContainerdSocket": ContainerdSocket,
		"CNIPrograms":      CNIPrograms,
		"PauseImage":       image.Pause,
		"NodeName":         node.Name,
		"PodRange":         node.PodRange,
		"Registry":         s.Registry(),
	}
	rendered := map[string][]byte{}
	for name, path := range configFiles(s.Registry()) {
		parsed, err := template.New(name).Option("missingkey=error").ParseFS(templates, "config/"+name)
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		if err := parsed.Execute(&out, values); err != nil {
			return nil, err
		}
		rendered[filepath.Join(node.Home, path)] = out.Bytes()
	}
	return rendered, nil
}

// Write puts the configuration files and new certificates where the programs look for them, and the administrator's
// kubeconfig at the given path.
func (s Settings) Write(admin string) error {
	files, err := s.files()
	if err != nil {
		return err
	}
	for path, content := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return s.certify(admin)
}

// certify makes the certificates, the keys and the kubeconfigs that carry them.
func (s Settings) certify(admin string) error {
	ca, err := newAuthority(pki(""))
	if err != nil {
		return fmt.Errorf("cannot make the cluster's certificate authority: %w", err)
	}
	files := map[string]identity{
		"apiserver": {
			user:      "kube-apiserver",
			names:     []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"},
			addresses: []string{s.nodeAddress(), node.APIService, "127.0.0.1"},
		},
		"apiserver-kubelet-client": {user: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
		"kubelet-server":           {user: node.Name, names: []string{node.Name}, addresses: []string{s.nodeAddress()}},
	}
	for name, who := range files {
		if err := ca.write(name, who); err != nil {
			return err
		}
	}
	kubeconfigs := map[string]identity{
		admin: {user: "admin", groups: []string{"system:masters"}},
		pki("kube-controller-manager.kubeconfig"): {user: "system:kube-controller-manager"},
		pki("kube-scheduler.kubeconfig"):          {user: "system:kube-scheduler"},
		pki("kube-proxy.kubeconfig"):              {user: "system:kube-proxy"},
		pki("kubelet.kubeconfig"):                 {user: "system:node:" + node.Name, groups: []string{"system:nodes"}},
	}
	for path, who := range kubeconfigs {
		if err := ca.kubeconfig(path, s.APIServer(), who); err != nil {
			return err
		}
	}
	return nil
}

// Digest is a digest of the programs, their settings and the node's images. Two clusters of the same digest are alike, but for their certificates.
func (s Settings) Digest() (string, error) {
	files, err := s.files()
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte(fmt.Sprintln(s.BasePrograms(), s.ClientPrograms(), files, s.Images, s.StandIns)))
	return fmt.Sprintf("%x", digest[:8]), nil
}
