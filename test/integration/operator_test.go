package integration

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/manager"
)

const (
	// deadline bounds how long a test waits for something that must happen. It
	// is generous because machines may be busy: tests assert that something
	// happens, not how fast.
	deadline = time.Minute
	// tick is the interval at which a test checks.
	tick = 20 * time.Millisecond
)

// operator is a running operator.
type operator struct {
	t         *testing.T
	transport *transport
	stop      func()
	stopped   chan error
}

// startOperator starts the operator as cmd/modelkiln does. It stops at the end
// of the test, or when stop is called.
func startOperator(t *testing.T, server *apiServer, options ...func(*settings)) *operator {
	t.Helper()
	s := settings{config: config.Default(), transport: newTransport()}
	s.manager.MetricsAddress, s.manager.ProbeAddress, s.manager.WebhookAddress = "0", "0", "0"
	s.manager.Namespace, s.manager.SharedProcess = operatorNamespace, true
	for _, option := range options {
		option(&s)
	}
	rc := server.serviceAccountConfig(t, operatorNamespace, operatorAccount)
	if s.faults != nil {
		rc.Wrap(s.faults.wrap)
	}
	if s.transport != nil {
		rc.Wrap(s.transport.wrap)
	}
	if s.wrap != nil {
		rc.Wrap(s.wrap)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	mgr, err := manager.New(ctx, rc, s.config, s.manager)
	require.NoError(t, err)

	stopped := make(chan error, 1)
	go func() { stopped <- mgr.Start(ctx) }()
	op := &operator{t: t, transport: s.transport, stopped: stopped, stop: sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-stopped:
			if err != nil {
				t.Errorf("the operator stopped with an error: %v", err)
			}
		case <-time.After(deadline):
			t.Error("the operator did not stop after its context was canceled")
		}
	})}
	t.Cleanup(op.stop)
	if !s.manager.LeaderElect {
		op.awaitCaches(ctx, mgr)
	}
	return op
}

// awaitLeaseLost waits until the operator has ended because it does not lead any more.
// In a cluster, the kubelet then starts it again.
func (op *operator) awaitLeaseLost(t *testing.T) {
	t.Helper()
	select {
	case err := <-op.stopped:
		require.EqualError(t, err, "leader election lost")
		op.stopped <- nil
	case <-time.After(deadline):
		require.Fail(t, "the operator still runs")
	}
}

func (op *operator) awaitCaches(ctx context.Context, mgr ctrl.Manager) {
	op.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	require.True(op.t, mgr.GetCache().WaitForCacheSync(ctx), "the operator's caches did not sync")
}

// drainQueue waits until the operator has reconciled every change that the API
// server sent before this call. Changes are reconciled first in, first out, so
// that it is enough to wait for a new ModelVersion that needs no more than a
// status. Objects that existed when the operator started have a lower priority
// and may follow later: a test must change them, or wait for a request, to be
// sure that the operator has reconciled them.
func (op *operator) drainQueue(t *testing.T, server *apiServer) {
	t.Helper()
	s := newSandbox(t, server)
	s.create(localVersion, set(localPath, "/etc"))
	s.awaitReason(resnet, v1alpha1.ReasonSourceForbidden)
}

// awaitLookup waits until the operator has requested a Workflow and received
// 404 Not Found.
func (op *operator) awaitLookup(t *testing.T, namespace, workflow string) {
	t.Helper()
	op.awaitRequest(t, func(r request) bool {
		return r.inNamespace(namespace) && r.method == http.MethodGet && r.status == http.StatusNotFound && strings.HasSuffix(r.path, "/workflows/"+workflow)
	}, "for Workflow "+workflow)
}

// awaitTrainingKinds waits until the operator has found the training kinds, and
// has requeued unfinished ModelVersions for that.
func (op *operator) awaitTrainingKinds(t *testing.T) {
	t.Helper()
	op.awaitRequest(t, func(r request) bool { return r.path == "/apis/batch/v1/jobs" && r.status == http.StatusOK }, "for Jobs")
	op.drainQueue(t, shared)
}

// awaitRequest waits until the operator has sent a request that matches.
func (op *operator) awaitRequest(t *testing.T, match func(request) bool, purpose string) {
	t.Helper()
	require.Eventually(t, func() bool { return slices.ContainsFunc(op.transport.all(), match) }, deadline, tick, "the operator sent no request %s", purpose)
}

// settings are the options of startOperator.
type settings struct {
	config    config.Config
	manager   manager.Options
	transport *transport
	faults    *faults
	// wrap is another transport on top, if any.
	wrap func(http.RoundTripper) http.RoundTripper
}

func withConfig(edit func(*config.Config)) func(*settings) {
	return func(s *settings) { edit(&s.config) }
}

// withTransport sets the transport; nil records nothing.
func withTransport(tr *transport) func(*settings) {
	return func(s *settings) { s.transport = tr }
}

// withFaults puts faults between the operator and the API server.
func withFaults(f *faults) func(*settings) {
	return func(s *settings) { s.faults = f }
}

// inNamespaces limits the operator to the namespaces of these sandboxes, so that it runs
// beside others.
func inNamespaces(sandboxes ...sandbox) func(*settings) {
	return withConfig(func(c *config.Config) {
		for _, s := range sandboxes {
			c.Namespaces = append(c.Namespaces, s.namespace)
		}
	})
}

func withManager(edit func(*manager.Options)) func(*settings) {
	return func(s *settings) { edit(&s.manager) }
}

func withLeaderElection() func(*settings) {
	return withManager(func(o *manager.Options) {
		o.LeaderElect, o.LeaderElectionNamespace = true, operatorNamespace
	})
}

// freeAddress returns a local address on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}
