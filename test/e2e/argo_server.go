//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ways are how people do something to a Workflow: with the argo command, and by
// the buttons of the Argo UI.
var ways = map[string]func(t *testing.T, verb, namespace, workflow string){
	"argo": func(t *testing.T, verb, namespace, workflow string) {
		t.Helper()
		run(t, "argo", verb, "-n", namespace, workflow)
	},
	"ui": func(t *testing.T, verb, namespace, workflow string) {
		t.Helper()
		live.press(t, verb, namespace, workflow)
	},
}

// press does what a button of the Argo UI does to a Workflow: it asks Argo's
// server.
func (c *cluster) press(t *testing.T, button, namespace, workflow string) {
	t.Helper()
	server, node := &corev1.Service{}, &corev1.Node{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Namespace: argoNamespace, Name: "argo-server"}, server))
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: nodeName}, node))
	i := slices.IndexFunc(node.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Type == corev1.NodeInternalIP })
	require.NotEqual(t, -1, i)
	host := net.JoinHostPort(node.Status.Addresses[i].Address, strconv.Itoa(int(server.Spec.Ports[0].NodePort)))
	body, err := json.Marshal(map[string]string{"namespace": namespace, "name": workflow})
	require.NoError(t, err)
	address := fmt.Sprintf("http://%s/api/v1/workflows/%s/%s/%s", host, namespace, workflow, button)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address, bytes.NewReader(body))
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode, string(raw))
}
