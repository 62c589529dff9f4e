//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// action does something to a Workflow.
type action func(t *testing.T, verb, namespace, workflow string)

// argoAs returns what the argo command does, called by a user.
func argoAs(user string, flags ...string) action {
	return func(t *testing.T, verb, namespace, workflow string) {
		t.Helper()
		run(t, "argo", append([]string{verb, "-n", namespace, "--as", user, workflow}, flags...)...)
	}
}

// shippedUser creates a service account with the rights of the roles that
// deploy/ ships for users who edit in a namespace, and no others, and returns
// its user name. The cluster's own role edit has more rights, such as Argo's.
func (c *cluster) shippedUser(t *testing.T, namespace string) string {
	t.Helper()
	for _, role := range []string{"modelkiln-view", "modelkiln-edit"} {
		c.create(t, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "person"}},
		})
	}
	return "system:serviceaccount:" + namespace + ":person"
}

// pressButton does to a Workflow what a button of the Argo UI does.
func (c *cluster) pressButton(t *testing.T, button, namespace, workflow string) {
	t.Helper()
	require.NoError(t, c.press(t.Context(), button, namespace, workflow))
}

// press calls Argo's server as a button of the Argo UI does.
func (c *cluster) press(ctx context.Context, button, namespace, workflow string) error {
	server, node := &corev1.Service{}, &corev1.Node{}
	if err := errors.Join(c.Get(ctx, client.ObjectKey{Namespace: argoNamespace, Name: "argo-server"}, server), c.Get(ctx, client.ObjectKey{Name: nodeName}, node)); err != nil {
		return err
	}
	i := slices.IndexFunc(node.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Type == corev1.NodeInternalIP })
	host := net.JoinHostPort(node.Status.Addresses[i].Address, strconv.Itoa(int(server.Spec.Ports[0].NodePort)))
	body, err := json.Marshal(map[string]string{"namespace": namespace, "name": workflow})
	if err != nil {
		return err
	}
	address := fmt.Sprintf("http://%s/api/v1/workflows/%s/%s/%s", host, namespace, workflow, button)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", button, workflow, resp.Status, raw)
	}
	return err
}
