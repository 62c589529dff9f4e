package kube

import (
	"path/filepath"

	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
)

// systemPath is where the node's programs find Debian's: runc, iptables, mount and the like.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// BasePrograms are the node's programs that are started at once. None waits for the one before it: each tries again until
// what it needs is there.
func (s Settings) BasePrograms() []node.Program {
	kubernetes, etcd, containerd := s.Tools["kubernetes"], s.Tools["etcd"], s.Tools["containerd"]
	etcdURL, etcdPeerURL := "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	return []node.Program{
		{Name: "containerd", Path: containerd.Dir + ":" + systemPath, Argv: []string{
			containerd.Program("containerd"),
			"--config=" + filepath.Join(node.Home, "containerd.toml"),
		}},
		{Name: "etcd", Path: systemPath, Argv: []string{
			etcd.Program("etcd"),
			"--data-dir=" + filepath.Join(node.Home, "etcd"),
			"--listen-client-urls=" + etcdURL,
			"--advertise-client-urls=" + etcdURL,
			"--listen-peer-urls=" + etcdPeerURL,
			"--initial-advertise-peer-urls=" + etcdPeerURL,
			"--initial-cluster=default=" + etcdPeerURL,
			// What the cluster holds is not worth waiting for the disk: it goes with the cluster.
			"--unsafe-no-fsync",
		}},
		{Name: "kube-apiserver", Path: systemPath, Argv: []string{
			kubernetes.Program("kube-apiserver"),
			"--etcd-servers=" + etcdURL,
			"--secure-port=6443",
			"--advertise-address=" + s.nodeAddress(),
			"--service-cluster-ip-range=" + node.ServiceRange,
			"--allow-privileged",
			"--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction",
			"--client-ca-file=" + pki("ca.crt"),
			"--tls-cert-file=" + pki("apiserver.crt"),
			"--tls-private-key-file=" + pki("apiserver.key"),
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + pki("service-accounts.pub"),
			"--service-account-signing-key-file=" + pki("service-accounts.key"),
			"--kubelet-certificate-authority=" + pki("ca.crt"),
			"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"),
			"--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
			// By its name the node is not found: there is no DNS.
			"--kubelet-preferred-address-types=InternalIP",
		}},
	}
}

// ClientPrograms are the node's programs that end when what they need is not there yet: the API server with their rights,
// and for kubelet containerd. They are started when both answer.
func (s Settings) ClientPrograms() []node.Program {
	kubernetes := s.Tools["kubernetes"]
	return []node.Program{
		{Name: "kubelet", Path: systemPath, Argv: []string{
			kubernetes.Program("kubelet"),
			"--config=" + filepath.Join(node.Home, "kubelet.yaml"),
			"--kubeconfig=" + pki("kubelet.kubeconfig"),
			"--hostname-override=" + node.Name,
			"--node-ip=" + s.nodeAddress(),
		}},
		// It has no rights, and waits for kubelet to see it.
		{Name: "efs-stand-in", Path: systemPath, Argv: []string{EFSStandIn}},
		{Name: "kube-controller-manager", Path: systemPath, Argv: []string{
			kubernetes.Program("kube-controller-manager"),
			"--kubeconfig=" + pki("kube-controller-manager.kubeconfig"),
			"--authentication-kubeconfig=" + pki("kube-controller-manager.kubeconfig"),
			"--authorization-kubeconfig=" + pki("kube-controller-manager.kubeconfig"),
			"--service-account-private-key-file=" + pki("service-accounts.key"),
			"--root-ca-file=" + pki("ca.crt"),
			"--use-service-account-credentials",
			"--leader-elect=false",
		}},
		{Name: "kube-scheduler", Path: systemPath, Argv: []string{
			kubernetes.Program("kube-scheduler"),
			"--kubeconfig=" + pki("kube-scheduler.kubeconfig"),
			"--authentication-kubeconfig=" + pki("kube-scheduler.kubeconfig"),
			"--authorization-kubeconfig=" + pki("kube-scheduler.kubeconfig"),
			"--leader-elect=false",
		}},
		{Name: "kube-proxy", Path: systemPath, Argv: []string{
			kubernetes.Program("kube-proxy"),
			"--config=" + filepath.Join(node.Home, "kube-proxy.yaml"),
		}},
	}
}
