package kube

import (
	"path/filepath"

	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
)

// systemPath is the PATH on which the node's programs find runc, iptables, mount and other programs of the machine.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// BasePrograms returns the node's programs that are started first. They can be started concurrently, because each retries
// until the others are available.
func (s Settings) BasePrograms() []node.Program {
	kubernetes, etcd, containerd := s.Tools["kubernetes"], s.Tools["etcd"], s.Tools["containerd"]
	etcdURL, etcdPeerURL := "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	return []node.Program{
		{Name: "containerd", Path: containerd.Dir + ":" + systemPath, Argv: []string{
			containerd.Program("containerd"),
			"--config=" + filepath.Join(node.DataDir, "containerd.toml"),
		}},
		{Name: "etcd", Path: systemPath, Argv: []string{
			etcd.Program("etcd"),
			"--data-dir=" + filepath.Join(node.DataDir, "etcd"),
			"--listen-client-urls=" + etcdURL,
			"--advertise-client-urls=" + etcdURL,
			"--listen-peer-urls=" + etcdPeerURL,
			"--initial-advertise-peer-urls=" + etcdPeerURL,
			"--initial-cluster=default=" + etcdPeerURL,
			// The data need not survive a crash: it is deleted with the cluster.
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
			"--client-ca-file=" + pkiPath("ca.crt"),
			"--tls-cert-file=" + pkiPath("apiserver.crt"),
			"--tls-private-key-file=" + pkiPath("apiserver.key"),
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + pkiPath("service-accounts.pub"),
			"--service-account-signing-key-file=" + pkiPath("service-accounts.key"),
			"--kubelet-certificate-authority=" + pkiPath("ca.crt"),
			"--kubelet-client-certificate=" + pkiPath("apiserver-kubelet-client.crt"),
			"--kubelet-client-key=" + pkiPath("apiserver-kubelet-client.key"),
			// Without DNS, the node's name cannot be resolved.
			"--kubelet-preferred-address-types=InternalIP",
		}},
	}
}

// ClientPrograms returns the node's programs that exit if the API server with their RBAC rules is not available yet, or,
// for kubelet, containerd. They are started when both respond.
func (s Settings) ClientPrograms() []node.Program {
	kubernetes := s.Tools["kubernetes"]
	return []node.Program{
		{Name: "kubelet", Path: systemPath, Argv: []string{
			kubernetes.Program("kubelet"),
			"--config=" + filepath.Join(node.DataDir, "kubelet.yaml"),
			"--kubeconfig=" + pkiPath("kubelet.kubeconfig"),
			"--hostname-override=" + node.Name,
			"--node-ip=" + s.nodeAddress(),
		}},
		// The CSI driver does not use the API server. It waits until kubelet discovers its socket.
		{Name: "efs-stand-in", Path: systemPath, Argv: []string{EFSStandIn}},
		{Name: "kube-controller-manager", Path: systemPath, Argv: []string{
			kubernetes.Program("kube-controller-manager"),
			"--kubeconfig=" + pkiPath("kube-controller-manager.kubeconfig"),
			"--authentication-kubeconfig=" + pkiPath("kube-controller-manager.kubeconfig"),
			"--authorization-kubeconfig=" + pkiPath("kube-controller-manager.kubeconfig"),
			"--service-account-private-key-file=" + pkiPath("service-accounts.key"),
			"--root-ca-file=" + pkiPath("ca.crt"),
			"--use-service-account-credentials",
			"--leader-elect=false",
		}},
		{Name: "kube-scheduler", Path: systemPath, Argv: []string{
			kubernetes.Program("kube-scheduler"),
			"--kubeconfig=" + pkiPath("kube-scheduler.kubeconfig"),
			"--authentication-kubeconfig=" + pkiPath("kube-scheduler.kubeconfig"),
			"--authorization-kubeconfig=" + pkiPath("kube-scheduler.kubeconfig"),
			"--leader-elect=false",
		}},
		{Name: "kube-proxy", Path: systemPath, Argv: []string{
			kubernetes.Program("kube-proxy"),
			"--config=" + filepath.Join(node.DataDir, "kube-proxy.yaml"),
		}},
	}
}
