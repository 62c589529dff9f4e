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

func TestProbesAreAnswered(t *testing.T) {
	address := freeAddress(t)
	startOperator(t, shared, withManager(func(o *manager.Options) { o.ProbeAddress = address }))
	for _, path := range []string{"/healthz", "/readyz"} {
		t.Run(path, func(t *testing.T) {
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				status, body := get(t, c, "http://"+address+path, "")
				assert.Equal(c, http.StatusOK, status)
				assert.Equal(c, "ok", body)
			}, deadline, tick)
		})
	}
}

func TestMetricsAreForThoseWhoMayReadThem(t *testing.T) {
	address := freeAddress(t)
	startOperator(t, shared, withManager(func(o *manager.Options) { o.MetricsAddress = address }))
	namespace := shared.namespace(t)
	stranger := shared.token(t, namespace, "stranger")
	reader := metricsReader(t, shared)
	cases := map[string]struct {
		token string
		want  int
	}{
		"nobody is who comes without a token": {"", http.StatusUnauthorized},
		// What controller-runtime calls a token that the API server does not know.
		"nobody is who comes with a token of none":  {"nonsense", http.StatusInternalServerError},
		"a stranger may not":                        {stranger, http.StatusForbidden},
		"who is bound to the role in deploy/ may":   {reader, http.StatusOK},
		"the operator itself is a stranger to this": {shared.token(t, operatorNamespace, operatorAccount), http.StatusForbidden},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				status, body := get(t, c, "https://"+address+"/metrics", tc.token)
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

// metricsReader is the token of an account that may read metrics.
func metricsReader(t *testing.T, server *apiServer) string {
	t.Helper()
	namespace := server.namespace(t)
	token := server.token(t, namespace, "reader")
	require.NoError(t, server.admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "modelkiln-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "reader"}},
	}))
	return token
}

// get asks a server, whose certificate is made at its start and known to
// nobody.
func get(t *testing.T, c require.TestingT, url, token string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(c, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(request)
	require.NoError(c, err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	require.NoError(c, err)
	return response.StatusCode, string(raw)
}
