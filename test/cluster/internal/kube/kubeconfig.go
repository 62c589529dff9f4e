package kube

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters:
- name: modelkiln
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: %[3]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
contexts:
- name: modelkiln
  context: { cluster: modelkiln, user: "%[3]s" }
current-context: modelkiln
`

// writeKubeconfig issues a client certificate for id and writes a kubeconfig file that contains it.
func (a *authority) writeKubeconfig(path, server string, id identity) error {
	cert, key, err := a.issue(id)
	if err != nil {
		return fmt.Errorf("cannot issue the certificate of %s: %w", id.user, err)
	}
	encode := base64.StdEncoding.EncodeToString
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	content := fmt.Sprintf(kubeconfig, server, encode(a.pem), id.user, encode(cert), encode(key))
	return os.WriteFile(path, []byte(content), 0o600)
}
