package integration

import (
	"crypto/tls"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/internal/manager"
)

func TestProbes(t *testing.T) {
	address := freeAddress(t)
	startOperator(t, shared, withManager(func(o *manager.Options) { o.ProbeAddress = address }))
	for _, path := range []string{"/healthz", "/readyz"} {
		t.Run(path, func(t *testing.T) {
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				status, body := httpGet(t, c, "http://"+address+path, "")
				assert.Equal(c, http.StatusOK, status)
				assert.Equal(c, "ok", body)
			}, deadline, tick)
		})
	}
}

func TestMetricsAuthorization(t *testing.T) {
	address := freeAddress(t)
	startOperator(t, shared, withManager(func(o *manager.Options) { o.MetricsAddress = address }))
	namespace := shared.createNamespace(t)
	stranger := shared.token(t, namespace, "stranger")
	reader := metricsReader(t, shared)
	cases := map[string]struct {
		token string
		want  int
	}{
		"no token": {"", http.StatusUnauthorized},
		// controller-runtime returns 500 for a token that the API server rejects.
		"an invalid token":                         {"nonsense", http.StatusInternalServerError},
		"an account without the role":              {stranger, http.StatusForbidden},
		"an account with the role of deploy/":      {reader, http.StatusOK},
		"the operator's account, without the role": {shared.token(t, operatorNamespace, operatorAccount), http.StatusForbidden},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				status, body := httpGet(t, c, "https://"+address+"/metrics", tc.token)
				assert.Equal(c, tc.want, status)
				if tc.want == http.StatusOK {
					assert.Contains(c, body, `controller_runtime_reconcile_total{controller="modelversion",result="success"}`)
				} else {
					assert.NotContains(c, body, "controller_runtime")
				}
			}, deadline, tick)
		})
	}
}

// metricsReader returns a token of an account that has permission to read
// metrics.
func metricsReader(t *testing.T, server *apiServer) string {
	t.Helper()
	namespace := server.createNamespace(t)
	token := server.token(t, namespace, "reader")
	require.NoError(t, server.admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "modelkiln-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "reader"}},
	}))
	return token
}

// httpGet sends a request to the operator. It does not verify the certificate,
// which the operator signs itself when it starts.
func httpGet(t *testing.T, c require.TestingT, url, token string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(c, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	require.NoError(c, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(c, err)
	return resp.StatusCode, string(raw)
}
