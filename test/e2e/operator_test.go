//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// killOperator deletes the operator's pod at once, as if its node failed.
func killOperator(t *testing.T) {
	t.Helper()
	run(t, "kubectl", "delete", "pod", "-n", operatorNamespace, "-l", "app.kubernetes.io/component=controller", "--grace-period=0", "--force")
	after(t, func(ctx context.Context) {
		_, err := try(ctx, "kubectl", "rollout", "status", "deployment", operator, "-n", operatorNamespace, "--timeout=1m")
		assert.NoError(t, err)
	})
}

func TestServiceAccountPermissions(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	live.built(t, makeVersion("prepares-the-namespace", ns, model(t)).New())
	manager := "system:serviceaccount:" + operatorNamespace + ":" + operator
	builder := "system:serviceaccount:" + ns + ":modelkiln-build"
	tests := map[string]struct{ who, verb, resource, want string }{
		"the operator creates workflows":                        {manager, "create", "workflows.argoproj.io", "yes"},
		"the operator does not read secrets":                    {manager, "get", "secrets", "no"},
		"the operator does not list secrets":                    {manager, "list", "secrets", "no"},
		"the operator does not watch secrets":                   {manager, "watch", "secrets", "no"},
		"the operator creates no pods":                          {manager, "create", "pods", "no"},
		"the operator executes nothing in pods":                 {manager, "create", "pods:exec", "no"},
		"the operator creates no roles":                         {manager, "create", "clusterroles.rbac.authorization.k8s.io", "no"},
		"the operator binds no role":                            {manager, "bind", "clusterroles.rbac.authorization.k8s.io/cluster-admin", "no"},
		"the operator impersonates nobody":                      {manager, "impersonate", "users", "no"},
		"the operator creates no tokens":                        {manager, "create", "serviceaccounts:token", "no"},
		"the operator deletes no models":                        {manager, "delete", "models.model.kubedl.io", "no"},
		"the operator deletes ended workflows":                  {manager, "delete", "workflows.argoproj.io", "yes"},
		"the operator creates claims":                           {manager, "create", "persistentvolumeclaims", "yes"},
		"the operator creates volumes":                          {manager, "create", "persistentvolumes", "yes"},
		"the operator deletes what it has created":              {manager, "delete", "persistentvolumes", "yes"},
		"the operator changes no claims":                        {manager, "patch", "persistentvolumeclaims", "no"},
		"the operator changes no volumes":                       {manager, "patch", "persistentvolumes", "no"},
		"the operator does not list claims":                     {manager, "list", "persistentvolumeclaims", "no"},
		"the operator finds volumes whose ModelVersion is gone": {manager, "list", "persistentvolumes", "yes"},
		"the operator deletes no collections of volumes":        {manager, "deletecollection", "persistentvolumes", "no"},
		"a build creates no claims":                             {builder, "create", "persistentvolumeclaims", "no"},
		"a build reports its results":                           {builder, "create", "workflowtaskresults.argoproj.io", "yes"},
		"a build does not read results":                         {builder, "get", "workflowtaskresults.argoproj.io", "no"},
		"a build does not read secrets":                         {builder, "get", "secrets", "no"},
		"a build does not read pods":                            {builder, "get", "pods", "no"},
		"a build does not read its ModelVersion":                {builder, "get", "modelversions.model.kubedl.io", "no"},
		"a build does not write the status of its ModelVersion": {builder, "patch", "modelversions.model.kubedl.io:status", "no"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			// kubectl exits with 1 if the answer is no.
			resource, subresource, _ := strings.Cut(tt.resource, ":")
			out, _ := try(t.Context(), "kubectl", "auth", "can-i", tt.verb, resource, "--subresource", subresource, "--as", tt.who, "-n", ns)
			assert.Equal(t, tt.want, strings.TrimSpace(out))
		})
	}
}

// The operator's namespace may hold other Secrets than its own.
func TestWebhookSecretPermissions(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ verb, resource, want string }{
		"it renews its certificate":                      {"update", "secrets/modelkiln-webhook", "yes"},
		"it renews no other":                             {"update", "secrets/regcred", "no"},
		"it does not read another":                       {"get", "secrets/regcred", "no"},
		"it does not list them":                          {"list", "secrets", "no"},
		"it does not watch them":                         {"watch", "secrets", "no"},
		"it creates none":                                {"create", "secrets", "no"},
		"it deletes not even its own":                    {"delete", "secrets/modelkiln-webhook", "no"},
		"it updates its webhook configuration":           {"update", "mutatingwebhookconfigurations.admissionregistration.k8s.io/modelkiln-pods", "yes"},
		"it updates no other webhook configuration":      {"update", "mutatingwebhookconfigurations.admissionregistration.k8s.io/istio", "no"},
		"it creates no webhook configuration":            {"create", "mutatingwebhookconfigurations.admissionregistration.k8s.io", "no"},
		"it does not list webhook configurations":        {"list", "mutatingwebhookconfigurations.admissionregistration.k8s.io", "no"},
		"it updates no validating webhook configuration": {"update", "validatingwebhookconfigurations.admissionregistration.k8s.io", "no"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, _ := try(t.Context(), "kubectl", "auth", "can-i", tt.verb, tt.resource, "--as", "system:serviceaccount:"+operatorNamespace+":"+operator, "-n", operatorNamespace)
			assert.Equal(t, tt.want, strings.TrimSpace(out))
		})
	}
}

func TestMetricsAuthorization(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	for _, name := range []string{"somebody", "prometheus"} {
		live.create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}})
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "modelkiln-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "prometheus"}},
	}
	live.create(t, binding)
	live.deleteAfter(t, binding)
	url := metricsURL(t)

	tests := map[string]struct {
		token string
		want  int
	}{
		"without a token": {"", http.StatusUnauthorized},
		"with the token of another service account": {tokenOf(t, ns, "somebody"), http.StatusForbidden},
		"with the token of a metrics reader":        {tokenOf(t, ns, "prometheus"), http.StatusOK},
	}
	status, _ := get(t, url, "nonsense")
	assert.GreaterOrEqual(t, status, http.StatusBadRequest, "with an invalid token")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, text := get(t, url, tt.token)
			assert.Equal(t, tt.want, status, text)
			if tt.want == http.StatusOK {
				logMemory(t, text)
			}
		})
	}
}

func tokenOf(t *testing.T, namespace, serviceAccount string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "kubectl", "create", "token", serviceAccount, "-n", namespace))
}

// logMemory logs how much memory the operator uses.
func logMemory(t *testing.T, metrics string) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^process_resident_memory_bytes (\S+)$`).FindStringSubmatch(metrics)
	require.NotNil(t, found, "the operator reports its memory")
	t.Logf("figure: the operator's resident memory is %s bytes", found[1])
}

func get(t *testing.T, url, token string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	// The operator creates its own certificate when it starts.
	anyCertificate := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := anyCertificate.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

// metricsURL returns where this machine reaches the operator's metrics while
// the test runs.
func metricsURL(t *testing.T) string {
	t.Helper()
	forward := exec.CommandContext(t.Context(), "kubectl", "port-forward", "-n", operatorNamespace, "service/modelkiln-metrics", "0:8443", "--address=127.0.0.1")
	forward.WaitDelay = 10 * time.Second
	out, err := forward.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, forward.Start())
	t.Cleanup(func() { _ = forward.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
	require.NotEmpty(t, address, line)
	return "https://" + address + "/metrics"
}
