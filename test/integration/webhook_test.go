package integration

import (
	"context"
	"crypto/tls"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/manager"
	"github.com/modelkiln/modelkiln/internal/webhook/certs"
)

const deployWebhook = "../../deploy/webhook"

// withWebhook lets the operator serve the webhook at a local address, where the
// API server calls it: no Service works here.
func withWebhook(address string) func(*settings) {
	return withManager(func(o *manager.Options) { o.WebhookAddress, o.WebhookHost = address, "127.0.0.1" })
}

// installWebhook installs deploy/webhook for an operator at a local address, and
// deletes it after the test.
func installWebhook(t *testing.T, server *apiServer, address string) {
	t.Helper()
	for _, file := range []string{"secret.yaml", "configuration.yaml", "workloads.yaml", "policy.yaml"} {
		objects, err := readManifests(filepath.Join(deployWebhook, file))
		require.NoError(t, err)
		for _, o := range objects {
			if strings.HasSuffix(o.GetKind(), "WebhookConfiguration") {
				replaceService(t, o, address)
			}
			require.NoError(t, server.admin.Create(t.Context(), o))
			t.Cleanup(func() { assert.NoError(t, server.admin.Delete(context.WithoutCancel(t.Context()), o)) })
		}
	}
}

// replaceService replaces the Service in a webhook configuration by an address.
func replaceService(t *testing.T, configuration *unstructured.Unstructured, address string) {
	t.Helper()
	hooks, _, err := unstructured.NestedSlice(configuration.Object, "webhooks")
	require.NoError(t, err)
	for _, hook := range hooks {
		path, _, err := unstructured.NestedString(hook.(map[string]any), "clientConfig", "service", "path")
		require.NoError(t, err)
		hook.(map[string]any)["clientConfig"] = map[string]any{"url": "https://" + address + path}
	}
	require.NoError(t, unstructured.SetNestedSlice(configuration.Object, hooks, "webhooks"))
}

// startWithWebhook installs the webhook, starts an operator that serves it, and
// waits until the API server reaches it.
func startWithWebhook(t *testing.T, options ...func(*settings)) {
	t.Helper()
	address := freeAddress(t)
	installWebhook(t, shared, address)
	startOperator(t, shared, append(options, withWebhook(address))...)
	awaitWebhook(t)
}

// awaitWebhook waits until the API server calls the operator for training pods
// and gets a response.
func awaitWebhook(t *testing.T) {
	t.Helper()
	s := newSandbox(t, shared)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.ErrorContains(c, s.client.Create(t.Context(), trainingPod(s.namespace, "none")), `ModelVersion "none" not found`)
	}, deadline, tick)
}

// trainingPod returns a pod that requests a ModelVersion's storage.
func trainingPod(namespace, version string) *corev1.Pod {
	pod := plainPod(namespace)
	pod.Labels = map[string]string{v1alpha1.LabelTrainVersion: version}
	return pod
}

func plainPod(namespace string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "train-"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "train", Image: "registry.example.com/train"}}},
	}
}

// assertPodRejected checks that the webhook rejects a pod with a message that
// contains these texts.
func (s sandbox) assertPodRejected(t *testing.T, pod *corev1.Pod, want ...string) {
	t.Helper()
	err := s.client.Create(t.Context(), pod)
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	for _, text := range want {
		assert.ErrorContains(t, err, text)
	}
}

// Only pods that train or serve depend on the operator.
func TestWebhookUnavailable(t *testing.T) {
	installWebhook(t, shared, freeAddress(t))
	s := newSandbox(t, shared)
	for _, label := range []string{v1alpha1.LabelTrainVersion, v1alpha1.LabelServeVersion, v1alpha1.LabelServeModel} {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			pod := plainPod(s.namespace)
			pod.Labels = map[string]string{label: resnet}
			assert.ErrorContains(c, s.client.Create(t.Context(), pod), "failed calling webhook", "no pod trains or serves without its model")
		}, deadline, tick)
	}

	require.NoError(t, s.client.Create(t.Context(), plainPod(s.namespace)))
	labelled := plainPod(s.namespace)
	labelled.Labels = map[string]string{v1alpha1.LabelModelVersion: resnet}
	assert.NoError(t, s.client.Create(t.Context(), labelled))
}

func TestWebhookCertificateOfReplicas(t *testing.T) {
	addresses := []string{freeAddress(t), freeAddress(t)}
	installWebhook(t, shared, addresses[0])
	replicas := make([]*operator, 0, len(addresses))
	for _, address := range addresses {
		replicas = append(replicas, startOperator(t, shared, withWebhook(address), withLeaderElection()))
	}
	awaitWebhook(t)
	var certificate []byte
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		first, second := servedCertificate(c, addresses[0]), servedCertificate(c, addresses[1])
		require.NotNil(c, first)
		assert.Equal(c, first, second)
		certificate = first
	}, deadline, tick)

	// The next operator serves the same certificate.
	for _, replica := range replicas {
		replica.stop()
	}
	startOperator(t, shared, withWebhook(addresses[0]))
	awaitWebhook(t)
	assert.Equal(t, certificate, servedCertificate(t, addresses[0]))
}

// servedCertificate returns the certificate of the server at an address.
func servedCertificate(t require.TestingT, address string) []byte {
	connection, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) //nolint:noctx // The test ends with its deadline.
	require.NoError(t, err)
	certificate := connection.ConnectionState().PeerCertificates[0].Raw
	require.NoError(t, connection.Close())
	return certificate
}

func TestWebhookCertificateRestored(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: certs.SecretName}}
	s.refresh(t, secret)
	before := secret.Data[corev1.TLSCertKey]
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{}

	secret.Data = nil
	require.NoError(t, s.client.Update(t.Context(), secret))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		s.refresh(c, secret)
		require.NotEmpty(c, secret.Data[corev1.TLSCertKey])
		require.NoError(c, s.client.Get(t.Context(), client.ObjectKey{Name: certs.PodsConfigurationName}, configuration))
		current, hasPrevious := strings.CutSuffix(string(configuration.Webhooks[0].ClientConfig.CABundle), string(secret.Data["previous-ca.crt"]))
		require.True(c, hasPrevious)
		require.NotEmpty(c, current)
		assert.Contains(c, string(secret.Data[corev1.TLSCertKey]), current)
		assert.Contains(c, string(before), string(secret.Data["previous-ca.crt"]), "replicas may still serve the certificate before")
	}, deadline, tick)
	assert.NotEqual(t, before, secret.Data[corev1.TLSCertKey])
	awaitWebhook(t)

	// As after kubectl apply of the configuration, which has no CA bundle.
	before = configuration.Webhooks[0].ClientConfig.CABundle
	configuration.Webhooks[0].ClientConfig.CABundle = nil
	require.NoError(t, s.client.Update(t.Context(), configuration))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.NoError(c, s.client.Get(t.Context(), client.ObjectKey{Name: certs.PodsConfigurationName}, configuration))
		assert.Equal(c, before, configuration.Webhooks[0].ClientConfig.CABundle)
	}, deadline, tick)
}

func TestWebhookReadiness(t *testing.T) {
	probes, address := freeAddress(t), freeAddress(t)
	startOperator(t, shared, withWebhook(address), withManager(func(o *manager.Options) { o.ProbeAddress = probes }))
	status := func(c require.TestingT, path string) int {
		code, _ := httpGet(t, c, "http://"+probes+path, "")
		return code
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Equal(c, http.StatusOK, status(c, "/healthz"))
	}, deadline, tick)
	assert.Equal(t, http.StatusInternalServerError, status(t, "/readyz"))

	installWebhook(t, shared, address)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Equal(c, http.StatusOK, status(c, "/readyz"))
	}, deadline, tick)
}
