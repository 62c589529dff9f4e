package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/manager"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// build lets Argo finish the build of a ModelVersion that was created.
func (s sandbox) build() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		s.advance()
		return s.isDone()
	}, deadline, tick, "the build does not end")
	s.assertBuiltOnce()
}

// Each request of a build fails the first time, or takes long.
func TestAPIServerFaults(t *testing.T) {
	t.Parallel()
	every := func(request) bool { return true }
	for name, tt := range map[string]struct {
		code   int
		reason metav1.StatusReason
		delay  time.Duration
		of     func(request) bool
	}{
		"409":  {code: http.StatusConflict, reason: metav1.StatusReasonConflict, of: request.isWrite},
		"429":  {code: http.StatusTooManyRequests, reason: metav1.StatusReasonTooManyRequests, of: every},
		"500":  {code: http.StatusInternalServerError, reason: metav1.StatusReasonInternalError, of: every},
		"503":  {code: http.StatusServiceUnavailable, reason: metav1.StatusReasonServiceUnavailable, of: every},
		"slow": {delay: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, shared)
			f := newFaults()
			op := startOperator(t, shared, inNamespaces(s), withFaults(f))
			failed := map[string]bool{}
			f.mu.Lock()
			f.delay = tt.delay
			f.answer = func(r *http.Request) *http.Response {
				sent := request{method: r.Method, path: r.URL.Path}
				if tt.code == 0 || !sent.inNamespace(s.namespace) || isWatch(r) || !tt.of(sent) || failed[sent.String()] {
					return nil
				}
				failed[sent.String()] = true
				return statusResponse(r, tt.code, tt.reason)
			}
			f.mu.Unlock()

			s.create(localVersion)
			s.build()
			op.stop()
			if tt.code != 0 {
				assert.GreaterOrEqual(t, len(failed), writesPerBuild/2)
			}
			assert.LessOrEqual(t, len(op.transport.requestsIn(s.namespace)), 40*writesPerBuild, "no hot loop")
		})
	}
}

func TestWatchesExpire(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, shared)
	f := newFaults()
	startOperator(t, shared, inNamespaces(s), withFaults(f))
	s.create(localVersion)
	wf := s.argo.awaitOnlyWorkflow()
	s.argo.runStep(wf, contract.StepBuild)
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)

	f.expireWatches()
	require.Positive(t, f.pendingExpirations())
	s.argo.completeWorkflow(wf)
	s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
	s.awaitLatest("resnet", s.latestVersion(resnet))
	s.assertBuiltOnce()
	require.Eventually(t, func() bool { return f.pendingExpirations() == 0 }, deadline, tick, "a watch was not started again")
}

func TestAPIServerAway(t *testing.T) {
	t.Parallel()
	t.Run("for a moment: the same process continues", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t, shared)
		f := newFaults()
		op := startOperator(t, shared, inNamespaces(s), withFaults(f))
		s.create(localVersion)
		wf := s.argo.awaitOnlyWorkflow()
		s.awaitWorkflowPhase(resnet, wf, "")
		f.setAway(true)
		s.argo.completeWorkflow(wf)
		before := len(op.transport.all())
		require.Eventually(t, func() bool { return len(op.transport.all()) > before+5 }, deadline, tick, "the operator does not try")
		f.setAway(false)
		s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		s.awaitLatest("resnet", s.latestVersion(resnet))
		s.assertBuiltOnce()
	})

	// The lease cannot be renewed: the process ends, and the kubelet starts it again.
	t.Run("longer than the lease: the next process continues", func(t *testing.T) {
		t.Parallel()
		running, waiting := newSandbox(t, shared), newSandbox(t, shared)
		f := newFaults()
		op := startOperator(t, shared, inNamespaces(running, waiting), withFaults(f), withLeaderElection())
		running.create(localVersion)
		wf := running.argo.awaitOnlyWorkflow()
		running.awaitWorkflowPhase(resnet, wf, "")
		f.setAway(true)
		running.argo.completeWorkflow(wf)
		waiting.create(localVersion)
		op.awaitLeaseLost(t)

		f.setAway(false)
		startOperator(t, shared, inNamespaces(running, waiting), withLeaderElection())
		running.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		running.awaitLatest("resnet", running.latestVersion(resnet))
		running.assertBuiltOnce()
		waiting.build()
	})
}

// Argo or the operator has a clock that is ten minutes ahead of the API server's, or
// behind. It is corrected before the last attempt.
func TestClocks(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ argo, operator time.Duration }{
		"Argo ahead":      {argo: 10 * time.Minute},
		"Argo behind":     {argo: -10 * time.Minute},
		"operator ahead":  {operator: 10 * time.Minute},
		"operator behind": {operator: -10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, shared)
			s.argo.clock = tt.argo
			op := startOperator(t, shared, inNamespaces(s), withManager(func(o *manager.Options) {
				o.Now = func() time.Time { return time.Now().Add(tt.operator) }
			}))
			fail := func(wf *wfv1.Workflow) {
				s.argo.runStep(wf, contract.StepBuild)
				s.awaitWorkflowPhase(resnet, wf, wfv1.WorkflowRunning)
				s.failBuild(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
			}
			mv := s.create(localVersion)
			first := s.argo.awaitOnlyWorkflow()
			s.awaitWorkflowPhase(resnet, first, "")
			s.argo.setPodPending(first, "")
			s.awaitWorkflowPhase(resnet, first, wfv1.WorkflowRunning)
			fail(first)
			first = s.argo.retry(first)
			s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
			fail(first)
			s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
			second := s.argo.awaitAttempt(mv, 2)
			s.awaitWorkflowPhase(resnet, second, "")
			fail(second)

			s.argo.clock = 0
			s.awaitNextSecond(second.CreationTimestamp)
			third := s.argo.resubmit(s.client, second)
			s.awaitWorkflowPhase(resnet, third, "")
			s.argo.completeWorkflow(third)
			mv = s.awaitWorkflowPhase(resnet, third, wfv1.WorkflowSucceeded)
			assert.Equal(t, ready, conditionStatuses(mv))
			assert.Equal(t, int64(2), mv.Status.Attempts)
			for _, wf := range s.argo.workflows() {
				assert.Empty(t, wf.Spec.Shutdown, "no Workflow has waited too long")
			}
			assert.Len(t, s.argo.workflows(), 3)
			assert.NotEmpty(t, op.transport.writes(s.namespace))
		})
	}
}

// awaitNextSecond waits until the API server's times, which count seconds, differ from t.
func (s sandbox) awaitNextSecond(t metav1.Time) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return time.Now().Unix() > t.Unix() }, deadline, tick)
}

// writes returns a matcher of one kind of write in the sandbox.
func (s sandbox) writes(method, suffix string) func(request) bool {
	return func(r request) bool {
		return r.method == method && r.inNamespace(s.namespace) && strings.HasSuffix(r.path, suffix)
	}
}

// The leader is paused while one of each kind of write is on its way. It wakes when
// another replica leads and has done the same, and its writes arrive.
func TestLeaderPaused(t *testing.T) {
	t.Parallel()
	server := newOwnServer(t)
	f := newFaults()
	limit := withConfig(func(c *config.Config) { c.FailedWorkflowsHistoryLimit = 0 })
	first := startOperator(t, server, limit, withFaults(f), withLeaderElection())

	created, running, missing, pruned := newSandbox(t, server), newSandbox(t, server), newSandbox(t, server), newSandbox(t, server)
	startIn := func(s sandbox) *wfv1.Workflow {
		s.create(localVersion)
		wf := s.argo.awaitOnlyWorkflow()
		s.argo.runStep(wf, contract.StepMountCheck)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		return wf
	}
	runs, fails, old := startIn(running), startIn(missing), startIn(pruned)
	pruned.failBuild(old, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
	pruned.annotate(resnet, v1alpha1.AnnotationRebuild, "1")

	f.hold(created.writes(http.MethodPost, "/workflows"))
	f.hold(running.writes(http.MethodPatch, "/modelversions/"+resnet+"/status"))
	f.hold(missing.writes(http.MethodPatch, "/workflows/"+fails.Name))
	f.hold(pruned.writes(http.MethodDelete, "/workflows/"+old.Name))
	created.create(localVersion)
	running.argo.runStep(runs, contract.StepBuild)
	missing.kubelet.failMount(missing.argo.createPod(fails))
	second := pruned.argo.awaitAttempt(pruned.version(resnet), 2)
	f.awaitHeld(t, 4)
	f.freeze()

	next := startOperator(t, server, limit, withLeaderElection())
	wf := created.argo.awaitOnlyWorkflow()
	created.awaitWorkflowPhase(resnet, wf, "")
	running.awaitMessage("step " + contract.StepBuild)
	missing.awaitTerminated(fails)
	require.Eventually(t, func() bool { return len(pruned.argo.workflows()) == 1 }, deadline, tick)
	next.drainQueue(t, server)
	all := []sandbox{created, running, missing, pruned}
	state := func() (versions []string) {
		for _, s := range all {
			versions = append(versions, s.version(resnet).ResourceVersion)
			for _, wf := range s.argo.workflows() {
				versions = append(versions, wf.Name+" "+wf.ResourceVersion)
			}
		}
		return versions
	}
	before := state()

	f.resume()
	first.awaitLeaseLost(t)
	for _, s := range all {
		first.transport.writes(s.namespace) // Each has a response.
	}
	assert.Equal(t, before, state(), "what the first replica had on its way changes nothing")

	created.build()
	running.completeBuild(runs)
	assert.Equal(t, v1alpha1.ReasonSourceMissing, readyReason(missing.version(resnet)))
	pruned.completeBuild(second)
}

// The leader dies at every write of a build, before the write reaches the API server or
// before the response reaches the operator. The other replica leads when the lease of
// the dead one has expired.
func TestLeaderKilledAtEveryWrite(t *testing.T) {
	t.Parallel()
	server := newOwnServer(t)
	f, tr := newFaults(), newTransport()
	sandboxes := make([]sandbox, 0, 2*writesPerBuild)
	for write := 1; write <= writesPerBuild; write++ {
		for _, delivered := range []bool{false, true} {
			s := newSandbox(t, server)
			tr.disconnects[s.namespace] = &disconnect{atWrite: write, delivered: delivered}
			sandboxes = append(sandboxes, s)
		}
	}
	leader := startOperator(t, server, withTransport(tr), withFaults(f), withLeaderElection())
	for _, s := range sandboxes {
		s.create(localVersion)
	}
	for i, s := range sandboxes {
		require.Eventually(t, func() bool {
			s.advance()
			return tr.disconnected(s.namespace)
		}, deadline, tick, "no crash in sandbox %d", i)
	}
	standby := startOperator(t, server, withLeaderElection())
	standby.awaitRequest(t, func(r request) bool { return r.inNamespace(operatorNamespace) }, "for the Lease")
	f.setAway(true) // A dead process does not release its lease.
	leader.stop()

	for _, s := range sandboxes {
		s.build()
	}
}

// Nothing can be written until an administrator frees etcd's disk and disarms its alarm.
func TestEtcdDiskFull(t *testing.T) {
	t.Parallel()
	server := newAPIServerWith(t, func(c *envtest.ControlPlane) {
		c.Etcd = &envtest.Etcd{}
		c.Etcd.Configure().Set("quota-backend-bytes", strconv.Itoa(32<<20))
	}, modelkilnCRDs, argoCRDs())
	server.installOperator(t)
	started, fresh := newSandbox(t, server), newSandbox(t, server)
	op := startOperator(t, server)
	started.create(localVersion)
	wf := started.argo.awaitOnlyWorkflow()
	started.awaitWorkflowPhase(resnet, wf, "")
	op.stop()
	started.argo.completeWorkflow(wf)
	fresh.create(localVersion)
	server.fillEtcd(t)

	op = startOperator(t, server)
	for _, s := range []sandbox{started, fresh} {
		op.awaitRequest(t, func(r request) bool {
			return r.inNamespace(s.namespace) && r.isWrite() && !r.isEvent() && r.status == http.StatusInternalServerError
		}, "that etcd has no space for")
	}
	assert.Empty(t, fresh.argo.workflows())
	server.freeEtcd(t)
	started.awaitReason(resnet, v1alpha1.ReasonSucceeded)
	started.awaitLatest("resnet", started.latestVersion(resnet))
	started.assertBuiltOnce()
	fresh.build()
}

// fillEtcd writes into etcd until it has no space.
func (s *apiServer) fillEtcd(t *testing.T) {
	t.Helper()
	value := bytes.Repeat([]byte("x"), 1<<20)
	for i := range 64 {
		if _, err := s.etcd(t, "kv/put", map[string][]byte{"key": fmt.Appendf(nil, "/full/%d", i), "value": value}); err != nil {
			require.ErrorContains(t, err, "database space exceeded")
			return
		}
	}
	require.Fail(t, "etcd does not observe its quota")
}

// freeEtcd deletes what fillEtcd has written, as the documentation of etcd describes.
func (s *apiServer) freeEtcd(t *testing.T) {
	t.Helper()
	deleted, err := s.etcd(t, "kv/deleterange", map[string][]byte{"key": []byte("/full/"), "range_end": []byte("/full0")})
	require.NoError(t, err)
	for _, call := range []struct {
		method    string
		arguments map[string]any
	}{
		{"kv/compaction", map[string]any{"revision": deleted["header"].(map[string]any)["revision"], "physical": true}},
		{"maintenance/defragment", map[string]any{}},
		{"maintenance/alarm", map[string]any{"action": "DEACTIVATE", "alarm": "NOSPACE", "memberID": deleted["header"].(map[string]any)["member_id"]}},
	} {
		_, err := s.etcd(t, call.method, call.arguments)
		require.NoError(t, err)
	}
}

// newOwnServer starts an API server with everything that the operator needs.
func newOwnServer(t *testing.T) *apiServer {
	t.Helper()
	server := newAPIServer(t, modelkilnCRDs, argoCRDs())
	server.installOperator(t)
	return server
}

// installOperator installs everything that the operator needs.
func (s *apiServer) installOperator(t *testing.T) {
	t.Helper()
	require.NoError(t, s.install(deployRBAC, deployComponents+"/serving", deployComponents+"/versions-from-workloads", deployComponents+"/efs", workflowTemplates, kanikoTemplate))
}
