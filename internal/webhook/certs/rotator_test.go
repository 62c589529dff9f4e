package certs

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

const namespace = "modelkiln-system"

// cluster is the objects of deploy/webhook, and the API server's clock.
type cluster struct {
	client.Client
	t   *testing.T
	now time.Time
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: SecretName}}
	pods := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: PodsConfigurationName}, Webhooks: make([]admissionregistrationv1.MutatingWebhook, 2)}
	c := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(secret, pods).Build()
	return &cluster{Client: c, t: t, now: time.Now()}
}

func (c *cluster) clock(context.Context) (time.Time, error) { return c.now, nil }

func (c *cluster) rotator() *Rotator {
	return &Rotator{Client: c, Namespace: namespace, Host: host, Clock: c.clock, Propagation: 10 * time.Second}
}

// setSecret replaces the content of the Secret.
func (c *cluster) setSecret(data map[string][]byte) {
	c.t.Helper()
	secret := &corev1.Secret{}
	require.NoError(c.t, c.Get(c.t.Context(), client.ObjectKey{Namespace: namespace, Name: SecretName}, secret))
	secret.Data = data
	require.NoError(c.t, c.Update(c.t.Context(), secret))
}

func (c *cluster) secret() map[string][]byte {
	c.t.Helper()
	secret := &corev1.Secret{}
	require.NoError(c.t, c.Get(c.t.Context(), client.ObjectKey{Namespace: namespace, Name: SecretName}, secret))
	return secret.Data
}

// bundle returns what the API server trusts.
func (c *cluster) bundle() string {
	c.t.Helper()
	pods := &admissionregistrationv1.MutatingWebhookConfiguration{}
	require.NoError(c.t, c.Get(c.t.Context(), client.ObjectKey{Name: PodsConfigurationName}, pods))
	require.Equal(c.t, pods.Webhooks[0].ClientConfig.CABundle, pods.Webhooks[1].ClientConfig.CABundle)
	return string(pods.Webhooks[0].ClientConfig.CABundle)
}

// reconcile runs a pass and returns the CA of the certificate that is served then.
func (c *cluster) reconcile(r *Rotator) (ca string, result ctrl.Result) {
	c.t.Helper()
	result, err := r.Reconcile(c.t.Context(), ctrl.Request{})
	require.NoError(c.t, err)
	return string(r.serving.Load().ca), result
}

func TestRotatorReplacesCertificate(t *testing.T) {
	c := newCluster(t)
	a, b := c.rotator(), c.rotator()
	first, _ := c.reconcile(a)
	served, _ := c.reconcile(b)
	assert.Equal(t, first, served)
	assert.Equal(t, first, c.bundle())

	c.setSecret(nil)
	served, result := c.reconcile(a)
	assert.Equal(t, first, served, "API servers may not trust the next one yet")
	assert.Equal(t, 10*time.Second, result.RequeueAfter)
	second := string(readCA(c.secret()[corev1.TLSCertKey]))
	assert.NotEqual(t, first, second)
	assert.Equal(t, second+first, c.bundle())

	// The other replica notices it later.
	c.now = c.now.Add(10 * time.Second)
	served, _ = c.reconcile(a)
	assert.Equal(t, second, served)
	served, result = c.reconcile(b)
	assert.Equal(t, first, served)
	assert.Equal(t, 10*time.Second, result.RequeueAfter)
	c.now = c.now.Add(4 * time.Second)
	_, result = c.reconcile(b)
	assert.Equal(t, 6*time.Second, result.RequeueAfter)
	c.now = c.now.Add(6 * time.Second)
	served, _ = c.reconcile(b)
	assert.Equal(t, second, served)
	assert.Equal(t, second+first, c.bundle())

	// A replica that starts has no previous certificate to serve.
	served, _ = c.reconcile(c.rotator())
	assert.Equal(t, second, served)

	// As if the host had changed: the Secret still has the certificate.
	c.setSecret(map[string][]byte{corev1.TLSCertKey: c.secret()[corev1.TLSCertKey]})
	c.reconcile(b)
	third := string(readCA(c.secret()[corev1.TLSCertKey]))
	assert.NotEqual(t, second, third)
	assert.Equal(t, third+second, c.bundle(), "the first is not trusted any more")
}

// A certificate that is not trusted or has expired is not served any longer.
func TestRotatorServesAtOnce(t *testing.T) {
	for name, prepare := range map[string]func(c *cluster, r *Rotator){
		"the one before is not trusted": func(c *cluster, _ *Rotator) {
			other, err := newCertificate(host)
			require.NoError(c.t, err)
			c.setSecret(other)
		},
		"the one before has expired": func(c *cluster, r *Rotator) {
			c.setSecret(nil)
			c.reconcile(r)
			r.serving.Load().pair.Leaf.NotAfter = c.now
		},
		"the CA before is not valid PEM": func(c *cluster, _ *Rotator) {
			other, err := newCertificate(host)
			require.NoError(c.t, err)
			other[previousCAKey] = []byte("nonsense")
			c.setSecret(other)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			r := c.rotator()
			c.reconcile(r)
			prepare(c, r)
			served, _ := c.reconcile(r)
			assert.Equal(t, string(readCA(c.secret()[corev1.TLSCertKey])), served)
			assert.Contains(t, c.bundle(), served)
			assert.NotContains(t, c.bundle(), "nonsense")
		})
	}
}

// Replicas whose clocks differ do not replace each other's certificate: only the API
// server's clock counts.
func TestRotatorClocks(t *testing.T) {
	for name, skew := range map[string]time.Duration{"a machine that is behind": 300 * 24 * time.Hour, "a machine that is ahead": -300 * 24 * time.Hour} {
		t.Run(name+" creates none", func(t *testing.T) {
			c := newCluster(t)
			c.now = c.now.Add(skew)
			_, err := c.rotator().Reconcile(t.Context(), ctrl.Request{})
			require.ErrorContains(t, err, "set the clock of the operator's node, which differs from that of the API server by 7200h0m0s")
			assert.Empty(t, c.secret())
		})
	}
	t.Run("a machine that is behind keeps that of another", func(t *testing.T) {
		c := newCluster(t)
		c.reconcile(c.rotator())
		before := c.secret()
		synctest.Test(t, func(t *testing.T) {
			require.Less(t, time.Now().Year(), c.now.Year()-20)
			c.t = t
			for range 3 {
				c.reconcile(c.rotator())
			}
		})
		c.t = t
		assert.Equal(t, before, c.secret())
	})
}

func TestServerClock(t *testing.T) {
	date := "Sun, 01 Mar 2026 12:00:00 GMT"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", date) }))
	t.Cleanup(server.Close)
	clock, err := ServerClock(&rest.Config{Host: server.URL}, server.Client())
	require.NoError(t, err)

	got, err := clock(t.Context())
	require.NoError(t, err)
	assert.Equal(t, time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC), got)

	date = "yesterday"
	_, err = clock(t.Context())
	require.ErrorContains(t, err, "read the header Date")
	server.Close()
	_, err = clock(t.Context())
	assert.ErrorContains(t, err, "connection refused")
}
