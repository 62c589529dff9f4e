package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/manager"
	"github.com/modelkiln/modelkiln/internal/webhook"
)

// A pod in the cluster calls the webhook as the API server would, about a namespace
// that the user whom it names cannot access.
func TestWebhookForgedReview(t *testing.T) {
	address := freeAddress(t)
	installWebhook(t, shared, address)
	startOperator(t, shared, withWebhook(address))
	awaitWebhook(t)
	s := newSandbox(t, shared)
	mv := s.createReady()
	elsewhere := newSandbox(t, shared)
	account := "system:serviceaccount:" + elsewhere.namespace + ":default"
	call := func(path string, request admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		t.Helper()
		request.UID, request.UserInfo = "1", authenticationv1.UserInfo{Username: account}
		return postReview(t, "https://"+address+path, request)
	}
	pods := func(path, label string) *admissionv1.AdmissionResponse {
		pod := servingPod("", map[string]string{label: mv.Name})
		raw, err := json.Marshal(pod)
		require.NoError(t, err)
		return call(path, admissionv1.AdmissionRequest{
			Namespace: s.namespace, Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: raw},
			Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
		})
	}
	assertDenied := func(response *admissionv1.AdmissionResponse, resource string) {
		t.Helper()
		assert.False(t, response.Allowed)
		assert.Empty(t, response.Patch)
		assert.Equal(t, fmt.Sprintf("user %q may not create %s in namespace %s", account, resource, s.namespace), response.Result.Message)
	}

	assertDenied(pods(webhook.ServingPath, v1alpha1.LabelServeVersion), "pods")
	assertDenied(pods(webhook.TrainingPath, v1alpha1.LabelTrainVersion), "pods")
	assertDenied(call(webhook.WorkloadsPath, admissionv1.AdmissionRequest{
		Namespace: s.namespace, Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: []byte(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"train"}}`)},
		Resource: metav1.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"},
	}), "jobs")

	// The same request is answered for a user who may make it.
	account = "system:serviceaccount:" + s.namespace + ":user"
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "pods"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"create"}}}}
	require.NoError(t, s.client.Create(t.Context(), role))
	shared.clientWithRoles(t, s.namespace, "user", rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "pods"})
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		response := pods(webhook.ServingPath, v1alpha1.LabelServeVersion)
		assert.True(c, response.Allowed)
		assert.Contains(c, string(response.Patch), mv.Status.Digest)
	}, deadline, tick)
}

// postReview sends a review to the webhook and returns the response.
func postReview(t *testing.T, url string, request admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	t.Helper()
	review := admissionv1.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: &request}
	raw, err := json.Marshal(review)
	require.NoError(t, err)
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(raw))
	require.NoError(t, err)
	post.Header.Set("Content-Type", "application/json")
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer c.CloseIdleConnections()
	response, err := c.Do(post)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", body)
	require.NoError(t, json.Unmarshal(body, &review))
	return review.Response
}

// The API server presents a certificate, as deploy/README.md describes.
func TestWebhookClientCertificate(t *testing.T) {
	const name = "kube-apiserver-webhooks"
	dir := t.TempDir()
	authority := newAuthority(t)
	ca := filepath.Join(dir, "ca.crt")
	require.NoError(t, certutil.WriteCert(ca, authority.pem))
	client := authority.sign(t, dir, name)
	server := newAPIServerWith(t, func(c *envtest.ControlPlane) {
		c.GetAPIServer().Configure().Append("admission-control-config-file", admissionConfiguration(t, dir, client))
	}, modelkilnCRDs)
	require.NoError(t, server.install(deployRBAC))
	address, probes := freeAddress(t), freeAddress(t)
	installWebhook(t, server, address)
	startOperator(t, server, withWebhook(address), withManager(func(o *manager.Options) {
		o.WebhookClientCAFile, o.WebhookClientName, o.ProbeAddress = ca, name, probes
	}))

	s := newSandbox(t, server)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.ErrorContains(c, s.client.Create(t.Context(), trainingPod(s.namespace, "none")), `ModelVersion "none" not found`)
		status, _ := httpGet(t, c, "http://"+probes+"/readyz", "")
		assert.Equal(c, http.StatusOK, status)
	}, deadline, tick)

	require.NoError(t, callTLS(t, address, client))
	require.ErrorContains(t, callTLS(t, address, keyPair{}), "certificate required")
	require.ErrorContains(t, callTLS(t, address, authority.sign(t, dir, "another")), "bad certificate")
	assert.ErrorContains(t, callTLS(t, address, newAuthority(t).sign(t, dir, name)), "unknown certificate authority")
}

// keyPair is the files of a certificate and its key.
type keyPair struct{ certificate, key string }

// callTLS sends a request to the webhook with a client certificate, if any.
func callTLS(t *testing.T, address string, client keyPair) error {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if client != (keyPair{}) {
		pair, err := tls.LoadX509KeyPair(client.certificate, client.key)
		require.NoError(t, err)
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer c.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+address+webhook.ServingPath, http.NoBody)
	require.NoError(t, err)
	response, err := c.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// authority is a certificate authority.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	certificate, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: "webhook-clients"}, key)
	require.NoError(t, err)
	pem, err := certutil.EncodeCertificates(certificate)
	require.NoError(t, err)
	return authority{certificate: certificate, key: key, pem: pem}
}

// sign writes a client certificate with this common name.
func (a authority) sign(t *testing.T, dir, name string) keyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	pem, err := certutil.EncodeCertificates(certificate)
	require.NoError(t, err)
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	require.NoError(t, err)
	pair := keyPair{certificate: filepath.Join(dir, name+".crt"), key: filepath.Join(dir, name+".key")}
	require.NoError(t, certutil.WriteCert(pair.certificate, pem))
	require.NoError(t, keyutil.WriteKey(pair.key, keyPEM))
	return pair
}

// admissionConfiguration writes the API server's configuration of the webhooks'
// clients, and returns the name of the file.
func admissionConfiguration(t *testing.T, dir string, client keyPair) string {
	t.Helper()
	kubeconfig, configuration := filepath.Join(dir, "kubeconfig.yaml"), filepath.Join(dir, "admission.yaml")
	require.NoError(t, os.WriteFile(kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
users:
  - name: '*'
    user: {client-certificate: %s, client-key: %s}
`, client.certificate, client.key), 0o600))
	require.NoError(t, os.WriteFile(configuration, fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: MutatingAdmissionWebhook
    configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: %[1]s}
  - name: ValidatingAdmissionWebhook
    configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: %[1]s}
`, kubeconfig), 0o600))
	return configuration
}
