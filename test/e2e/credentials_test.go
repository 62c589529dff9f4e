//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// The one user of the closed registry, and the file that htpasswd writes.
const (
	registryUser     = "kiln"
	registryPassword = "only-for-this-test"
	registryUsers    = "kiln:$2a$04$c.DAH92w26Vqw1W0DlsViepbdXl8fxhxQthxquj52J4MzNJq6I1qy\n"
)

func TestPushSecret(t *testing.T) {
	t.Parallel()
	s := live.submitter(t)
	closed := live.closedRegistry(t, s.namespace)
	live.pushSecret(t, s.namespace, contract.DefaultPushSecret, closed, registryPassword)
	live.pushSecret(t, s.namespace, "wrong", closed, "not-the-password")
	dir := model(t)
	tests := map[string]struct {
		secret string
		// reason is why the build fails; empty if it does not.
		reason string
	}{
		"with the right password": {secret: contract.DefaultPushSecret},
		"with a wrong password":   {secret: "wrong", reason: v1alpha1.ReasonRegistryUnauthorized},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			workflow, err := s.submit(t.Context(), dir, map[string]string{
				contract.ParamImage:               closed + "/models/resnet:" + content.Sum(name)[:8],
				contract.ParamPlainHTTPRegistries: live.registry + "," + closed,
				contract.ParamPushSecret:          tt.secret,
				contract.ParamPushSecretRequired:  "true",
			})
			require.NoError(t, err)
			wf := live.finished(t, s.namespace, workflow)
			left := reportOf(t, wf)
			assertNoSecret(t, wf)
			if tt.reason == "" {
				require.Equal(t, wfv1.WorkflowSucceeded, wf.Status.Phase, wf.Status.Message)
				assert.NotEmpty(t, left.Image.Digest)
				return
			}
			require.NotNil(t, left.Failure)
			assert.Equal(t, tt.reason, left.Failure.Reason)
			t.Log(left.Failure.Message)
		})
	}
}

// assertNoSecret checks that no password is in a build's logs or its Workflow.
func assertNoSecret(t *testing.T, wf *wfv1.Workflow) {
	t.Helper()
	log := run(t, "kubectl", "logs", "-n", wf.Namespace, "-l", workflowLabel+"="+wf.Name, "--all-containers", "--tail=-1")
	require.Contains(t, log, "mount-check", "there is a log")
	object := run(t, "kubectl", "get", "wf", "-n", wf.Namespace, wf.Name, "-o", "yaml")
	for _, password := range []string{registryPassword, "not-the-password"} {
		assert.NotContains(t, log, password)
		assert.NotContains(t, object, password)
	}
}

// pushSecret creates a Secret as kubectl create secret docker-registry does.
func (c *cluster) pushSecret(t *testing.T, namespace, name, registry, password string) {
	t.Helper()
	run(t, "kubectl", "create", "secret", "docker-registry", name, "-n", namespace,
		"--docker-server="+registry, "--docker-username="+registryUser, "--docker-password="+password)
}

// closedRegistry starts a registry that requires the password and returns its
// host and port.
func (c *cluster) closedRegistry(t *testing.T, namespace string) string {
	t.Helper()
	return c.registryPod(t, namespace, `http: {addr: ":5000"}`, `auth: {htpasswd: {realm: models, path: /etc/registry/users}}`).Status.PodIP + ":5000"
}

// registryPod starts a registry for the test alone in a namespace, with further
// lines of configuration. It listens on port 5000 of its pod.
func (c *cluster) registryPod(t *testing.T, namespace string, configuration ...string) *corev1.Pod {
	t.Helper()
	var open corev1.PodList
	require.NoError(t, c.List(t.Context(), &open, client.InNamespace("registry")))
	require.Len(t, open.Items, 1)
	settings := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "registry"},
		StringData: map[string]string{"users": registryUsers, "config.yml": strings.Join(append(configuration,
			`version: 0.1`,
			`storage: {filesystem: {rootdirectory: /data}}`,
		), "\n")},
	}
	c.create(t, settings)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: settings.Name, Labels: map[string]string{"app": settings.Name}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "registry", Image: open.Items[0].Spec.Containers[0].Image, Args: []string{"serve", "/etc/registry/config.yml"},
				Env:            []corev1.EnvVar{{Name: "OTEL_TRACES_EXPORTER", Value: "none"}},
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(5000)}}},
				VolumeMounts:   []corev1.VolumeMount{{Name: "settings", MountPath: "/etc/registry"}, {Name: "data", MountPath: "/data"}},
			}},
			SecurityContext: open.Items[0].Spec.SecurityContext,
			Volumes: []corev1.Volume{
				{Name: "settings", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: settings.Name}}},
				{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			},
		},
	}
	c.create(t, pod)
	run(t, "kubectl", "wait", "--for=condition=Ready", "pod/"+pod.Name, "-n", namespace, "--timeout="+time.Minute.String())
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
	return pod
}
