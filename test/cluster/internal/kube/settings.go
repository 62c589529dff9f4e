// Package kube contains the command lines, configuration files and certificates of the Kubernetes components of a one-node
// cluster.
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

// CNIPrograms is the directory of the CNI plugins in Debian's package containernetworking-plugins.
const CNIPrograms = "/usr/lib/cni"

// ContainerdSocket is the socket of the node's containerd. It can be used from outside the node too.
const ContainerdSocket = node.DataDir + "/containerd.sock"

// EFSStandIn is the path of the program that stands in for the CSI driver of AWS EFS.
const EFSStandIn = node.DataDir + "/efs-stand-in"

const registryPort = 5000

//go:embed config
var templates embed.FS

// templatePaths maps the templates of the configuration files to the paths under node.DataDir that they are rendered to.
func templatePaths(registry string) map[string]string {
	return map[string]string{
		"kubelet.yaml":    "kubelet.yaml",
		"kube-proxy.yaml": "kube-proxy.yaml",
		"containerd.toml": "containerd.toml",
		"cni.conflist":    "cni-config/10-modelkiln.conflist",
		"hosts.toml":      filepath.Join("registries", registry, "hosts.toml"),
	}
}

// Settings are the inputs of the programs of one cluster.
type Settings struct {
	Network node.Network
	Tools   map[string]tool.Tool
	// Images maps the names of the images that are imported into a new node to their digests.
	Images map[string]string
	// StandIns is the digest of the programs that stand in for file servers.
	StandIns string
}

// APIServer returns the URL of the API server, for the machine and the node.
func (s Settings) APIServer() string {
	return fmt.Sprintf("https://%s:6443", s.nodeAddress())
}

// Registry returns the address of the registry, which is the same for the machine, the node and pods.
func (s Settings) Registry() string {
	return fmt.Sprintf("%s:%d", s.nodeAddress(), registryPort)
}

// Machine returns the address of the machine, by which the node and pods reach it.
func (s Settings) Machine() string { return s.Network.Host.Addr().String() }

func (s Settings) nodeAddress() string {
	return s.Network.Node.Addr().String()
}

func pkiPath(name string) string {
	return filepath.Join(node.DataDir, "pki", name)
}

// configFiles renders the configuration files and returns them by path.
func (s Settings) configFiles() (map[string][]byte, error) {
	values := map[string]string{
		"DataDir":          node.DataDir,
		"PKI":              pkiPath(""),
		"CgroupRoot":       node.CgroupRoot,
		"ContainerdSocket": ContainerdSocket,
		"CNIPrograms":      CNIPrograms,
		"PauseImage":       image.Pause,
		"NodeName":         node.Name,
		"PodRange":         node.PodRange,
		"Registry":         s.Registry(),
	}
	rendered := map[string][]byte{}
	for name, path := range templatePaths(s.Registry()) {
		parsed, err := template.New(name).Option("missingkey=error").ParseFS(templates, "config/"+name)
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		if err := parsed.Execute(&out, values); err != nil {
			return nil, err
		}
		rendered[filepath.Join(node.DataDir, path)] = out.Bytes()
	}
	return rendered, nil
}

// Write writes the configuration files and newly issued certificates of the programs, and the administrator's kubeconfig to
// the path admin.
func (s Settings) Write(admin string) error {
	files, err := s.configFiles()
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
	return s.writeCertificates(admin)
}

// writeCertificates issues the certificates and writes them, their keys, and the kubeconfig files that contain them.
func (s Settings) writeCertificates(admin string) error {
	ca, err := newAuthority(pkiPath(""))
	if err != nil {
		return fmt.Errorf("cannot create the cluster's certificate authority: %w", err)
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
	for name, id := range files {
		if err := ca.writeKeyPair(name, id); err != nil {
			return err
		}
	}
	kubeconfigs := map[string]identity{
		admin: {user: "admin", groups: []string{"system:masters"}},
		pkiPath("kube-controller-manager.kubeconfig"): {user: "system:kube-controller-manager"},
		pkiPath("kube-scheduler.kubeconfig"):          {user: "system:kube-scheduler"},
		pkiPath("kube-proxy.kubeconfig"):              {user: "system:kube-proxy"},
		pkiPath("kubelet.kubeconfig"):                 {user: "system:node:" + node.Name, groups: []string{"system:nodes"}},
	}
	for path, id := range kubeconfigs {
		if err := ca.writeKubeconfig(path, s.APIServer(), id); err != nil {
			return err
		}
	}
	return nil
}

// Digest returns a digest of the programs, their settings and the node's images. Clusters with the same digest differ only
// in their certificates.
func (s Settings) Digest() (string, error) {
	files, err := s.configFiles()
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte(fmt.Sprintln(s.BasePrograms(), s.ClientPrograms(), files, s.Images, s.StandIns)))
	return fmt.Sprintf("%x", digest[:8]), nil
}
