package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/internal/webhook"
	"github.com/modelkiln/modelkiln/internal/webhook/certs"
)

// Two replicas serve the API server while the certificate is replaced again and
// again. Each call is a TLS connection of its own, to either of them.
func TestWebhookCertificateRotationUnderLoad(t *testing.T) {
	const rotations, clients = 20, 4
	replicas := []string{freeAddress(t), freeAddress(t)}
	installWebhook(t, shared, balance(t, replicas))
	for _, address := range replicas {
		serveCertificate(t, address)
	}
	s := newSandbox(t, shared)
	call := func(ctx context.Context) error {
		return s.client.Create(ctx, trainingPod(s.namespace, "none"), client.DryRunAll)
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.ErrorContains(c, call(t.Context()), reached) }, deadline, tick)

	ctx, stop := context.WithCancel(t.Context())
	var calls atomic.Int64
	var load sync.WaitGroup
	for range clients {
		load.Go(func() {
			for ctx.Err() == nil {
				if err := call(ctx); ctx.Err() == nil {
					assert.ErrorContains(t, err, reached)
					calls.Add(1)
				}
			}
		})
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: certs.SecretName}}
	for range rotations {
		served := servedCertificate(t, replicas[0])
		// The command in deploy/README.md.
		require.NoError(t, s.client.Patch(t.Context(), secret, client.RawPatch("application/json-patch+json", []byte(`[{"op":"remove","path":"/data"}]`))))
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			next := servedCertificate(c, replicas[0])
			assert.NotEqual(c, served, next)
			assert.Equal(c, next, servedCertificate(c, replicas[1]))
		}, deadline, tick)
	}
	stop()
	load.Wait()
	t.Logf("%d calls", calls.Load())
	assert.Greater(t, calls.Load(), int64(rotations*clients))
}

// reached is the message of serveCertificate's webhook.
const reached = "the webhook was reached"

// serveCertificate serves the webhook's certificate at an address, as one replica of
// the operator does.
func serveCertificate(t *testing.T, address string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	rotator := &certs.Rotator{
		Namespace: operatorNamespace, Host: host, Propagation: time.Second,
		Clock: func(context.Context) (time.Time, error) { return time.Now(), nil },
	}
	notShared := true
	mgr, err := ctrl.NewManager(shared.serviceAccountConfig(t, operatorNamespace, operatorAccount), ctrl.Options{
		Scheme: testScheme(), Cache: cache.Options{ByObject: certs.CacheObjects(operatorNamespace)},
		Metrics: metricsserver.Options{BindAddress: "0"}, Controller: ctrlconfig.Controller{SkipNameValidation: &notShared},
		WebhookServer: ctrlwebhook.NewServer(ctrlwebhook.Options{Host: host, Port: number, TLSOpts: []func(*tls.Config){func(c *tls.Config) {
			c.GetCertificate, c.NextProtos = rotator.Get, []string{"http/1.1"}
		}}}),
	})
	require.NoError(t, err)
	rotator.Client = mgr.GetClient()
	require.NoError(t, rotator.SetupWithManager(mgr))
	denies := &admission.Webhook{Handler: admission.HandlerFunc(func(context.Context, admission.Request) admission.Response { return admission.Denied(reached) })}
	mgr.GetWebhookServer().Register(webhook.TrainingPath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		denies.ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, mgr.Start(ctx)) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	require.Eventually(t, func() bool { return rotator.Ready(nil) == nil }, deadline, tick)
}

// balance returns the address of a load balancer in front of these ones, as a
// Service is.
func balance(t *testing.T, addresses []string) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var connections sync.WaitGroup
	connections.Go(func() {
		for i := 0; ; i++ {
			inbound, err := listener.Accept()
			if err != nil {
				assert.ErrorIs(t, err, net.ErrClosed)
				return
			}
			connections.Go(func() { pipe(t, inbound, addresses[i%len(addresses)]) })
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		connections.Wait()
	})
	return listener.Addr().String()
}

// pipe connects a connection with an address until one of both sides closes it.
func pipe(t *testing.T, inbound net.Conn, address string) {
	defer func() { _ = inbound.Close() }()
	outbound, err := (&net.Dialer{}).DialContext(context.WithoutCancel(t.Context()), "tcp", address)
	if err != nil {
		return
	}
	var both sync.WaitGroup
	copyAll := func(to, from net.Conn) {
		if _, err := io.Copy(to, from); err != nil && !isClosed(err) {
			t.Logf("load balancer: %v", err)
		}
		_ = to.(*net.TCPConn).CloseWrite()
	}
	both.Go(func() { copyAll(outbound, inbound) })
	both.Go(func() { copyAll(inbound, outbound) })
	both.Wait()
	_ = outbound.Close()
}

func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "connection reset")
}
