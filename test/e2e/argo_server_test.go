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

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// press does what a button of the Argo UI does to a Workflow: it asks Argo's
// server. The answer is the Workflow that came of it.
func (c *cluster) press(t *testing.T, button, namespace, workflow string) *wfv1.Workflow {
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
	wf := &wfv1.Workflow{}
	require.NoError(t, json.Unmarshal(raw, wf))
	return wf
}

func TestAFailedVersionBecomesReadyByTheButtonsOfTheArgoUI(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	for _, button := range []string{"retry", "resubmit"} {
		t.Run(button, func(t *testing.T) {
			t.Parallel()
			dir := newFolder(t)
			failed, _ := live.failed(t, makeVersion(button, ns, dir).Model(button).New())
			assertRefusal(t, failed, v1alpha1.ReasonSourceEmpty, string(dir))
			dir.write(t, "model.bin", "weights")

			again := live.press(t, button, ns, failed.Status.Workflow.Name)

			mv := live.readyAgain(t, failed)
			holds(t, mv, dir)
			assert.Equal(t, again.Name, mv.Status.Workflow.Name)
		})
	}
}

func TestARunningBuildThatIsEndedByTheButtonsOfTheArgoUISaysSo(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newFolder(t)
	dir.random(t, "weights.bin", 60<<20)
	for button, reason := range map[string]string{"stop": v1alpha1.ReasonWorkflowStopped, "terminate": v1alpha1.ReasonWorkflowTerminated} {
		t.Run(button, func(t *testing.T) {
			t.Parallel()
			mv := makeVersion(button, ns, dir).Model(button).New()
			live.create(t, mv)
			running := live.running(t, mv)

			live.press(t, button, ns, running.Status.Workflow.Name)

			mv = live.settled(t, mv, func(*v1alpha1.ModelVersion) bool { return true })
			assertRefusal(t, mv, reason, running.Status.Workflow.Name)
		})
	}
}
