//go:build soak

package integration

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

func init() { quiet = true }

var soakTime = flag.Duration("soak", 30*time.Minute, "how long TestSoak runs")

const (
	// maxSoakVersions is how many ModelVersions exist at a time.
	maxSoakVersions = 60
	// soakModels is the number of their Models.
	soakModels = 8
)

// TestSoak lets builds, failures, retries, resubmits and deletions happen at random for
// most of the time, and restarts of the operator for the rest. Whenever all ModelVersions
// are deleted, nothing else may be left of them, and the operator must need as much
// memory and as many goroutines as before.
func TestSoak(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := newSoak(t, rand.New(rand.NewPCG(seed, 0)))
	begin := time.Now()
	s.until(begin.Add(*soakTime / 10))
	first := s.settle()
	s.until(begin.Add(*soakTime / 10 * 8))
	last := s.settle()
	t.Logf("figure: %v", s.counts)
	t.Logf("figure: after a tenth of the time %+v, after eight tenths %+v", first, last)
	assert.LessOrEqual(t, last.goroutines, first.goroutines+10)
	assert.LessOrEqual(t, last.heapMiB, first.heapMiB*1.2+4)

	stopped := s.restart()
	for time.Now().Before(begin.Add(*soakTime)) {
		s.until(time.Now().Add(*soakTime / 50))
		s.stoppedGoroutines = append(s.stoppedGoroutines, s.restart())
	}
	last = s.settle()
	t.Logf("figure: goroutines while no operator runs %d, then %v; at the end %+v", stopped, s.stoppedGoroutines, last)
	require.NotEmpty(t, s.stoppedGoroutines)
	assert.LessOrEqual(t, s.stoppedGoroutines[len(s.stoppedGoroutines)-1], stopped+10)
	assert.LessOrEqual(t, last.heapMiB, first.heapMiB*1.2+4)
}

// soak is a namespace in which things happen at random, and its operator.
type soak struct {
	sandbox
	server   *apiServer
	random   *rand.Rand
	op       *operator
	acts     []act
	counts   map[string]int
	versions int
	// stoppedGoroutines are the goroutines that remained after each operator.
	stoppedGoroutines []int
}

// act is something that happens, as often as its weight says.
type act struct {
	name   string
	weight int
	do     func()
}

// usage is what the test's process needs, which the operator runs in.
type usage struct {
	goroutines int
	heapMiB    float64
}

func newSoak(t *testing.T, random *rand.Rand) *soak {
	t.Helper()
	server := newOwnServer(t)
	s := &soak{sandbox: newSandbox(t, server), server: server, random: random, counts: map[string]int{}}
	s.acts = []act{
		{"created", 30, s.createVersion},
		{"progressed", 30, s.progress},
		{"succeeded", 25, func() { s.finish(func(wf *wfv1.Workflow) { s.argo.completeWorkflow(wf) }) }},
		{"failed", 15, func() {
			s.finish(func(wf *wfv1.Workflow) {
				s.argo.failWorkflow(wf, contract.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
			})
		}},
		{"retried", 5, func() { s.withLast(v1alpha1.ImageBuildFailed, func(wf *wfv1.Workflow) { s.argo.retry(wf) }) }},
		{"resubmitted", 5, func() {
			s.withLast(v1alpha1.ImageBuildSucceeded, func(wf *wfv1.Workflow) { s.argo.resubmit(s.client, wf) })
		}},
		{"Workflow deleted", 5, func() {
			s.withLast(v1alpha1.ImageBuilding, func(wf *wfv1.Workflow) { s.remove(wf) })
		}},
		{"rebuild requested", 5, func() {
			if mv := s.anyVersion(); mv != nil {
				s.annotate(mv.Name, v1alpha1.AnnotationRebuild, fmt.Sprint(s.random.Int()))
			}
		}},
		{"deleted", 20, func() {
			if mv := s.anyVersion(); mv != nil {
				s.remove(mv)
			}
		}},
	}
	s.start()
	return s
}

func (s *soak) start() {
	s.op = startOperator(s.t, s.server, withTransport(nil), withConfig(func(c *config.Config) { c.AllowedEFS = []string{"fs-12345678"} }))
}

// restart starts the operator again, and returns how many goroutines there were meanwhile.
func (s *soak) restart() int {
	s.op.stop()
	s.counts["restarted"]++
	idle := goroutines(s.t)
	// Connections are closed in the background.
	require.Eventually(s.t, func() bool {
		before := idle
		idle = goroutines(s.t)
		return idle == before
	}, deadline, 50*tick)
	s.start()
	return idle
}

// until lets things happen until a time.
func (s *soak) until(end time.Time) {
	total := 0
	for _, act := range s.acts {
		total += act.weight
	}
	for time.Now().Before(end) {
		n := s.random.IntN(total)
		for _, act := range s.acts {
			if n -= act.weight; n < 0 {
				act.do()
				s.counts[act.name]++
				break
			}
		}
		s.collectGarbage()
	}
}

// settle deletes everything, and returns what the process needs then.
func (s *soak) settle() usage {
	for _, mv := range s.list() {
		s.remove(&mv)
	}
	var models v1alpha1.ModelList
	require.NoError(s.t, s.client.List(s.t.Context(), &models, client.InNamespace(s.namespace)))
	for i := range models.Items {
		s.remove(&models.Items[i])
	}
	require.EventuallyWithT(s.t, func(c *assert.CollectT) {
		s.collectGarbage()
		assert.Empty(c, s.list())
		assert.Empty(c, s.argo.workflows())
		var claims corev1.PersistentVolumeClaimList
		require.NoError(c, s.client.List(s.t.Context(), &claims, client.InNamespace(s.namespace)))
		assert.Empty(c, claims.Items)
		var volumes corev1.PersistentVolumeList
		require.NoError(c, s.client.List(s.t.Context(), &volumes))
		assert.Empty(c, volumes.Items)
	}, deadline, 10*tick, "objects are left")
	s.op.drainQueue(s.t, s.server)
	runtime.GC()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return usage{goroutines(s.t), float64(memory.HeapAlloc) / (1 << 20)}
}

// goroutines counts the goroutines, without those that controller-runtime leaves behind
// when it stops a watch while an event is on its way.
func goroutines(t *testing.T) int {
	t.Helper()
	var stacks bytes.Buffer
	require.NoError(t, pprof.Lookup("goroutine").WriteTo(&stacks, 2))
	count := 0
	for stack := range strings.SplitSeq(stacks.String(), "\n\n") {
		if !strings.Contains(stack, "watch.(*filteredWatch).loop") {
			count++
		}
	}
	return count
}

func (s *soak) createVersion() {
	if len(s.list()) >= maxSoakVersions {
		return
	}
	s.versions++
	manifests := []string{localVersion, localVersion, claimVersion, nfsVersion, efsVersion}
	named := set("metadata.name", fmt.Sprintf("mv-%d", s.versions), "spec.modelName", fmt.Sprintf("model-%d", s.random.IntN(soakModels)))
	changes := []change{named}
	if s.random.IntN(10) == 0 {
		changes = append(changes, build("workflowTemplate", "none"))
	}
	s.create(manifests[s.random.IntN(len(manifests))], changes...)
}

// progress lets a Workflow that runs take a step.
func (s *soak) progress() {
	s.finish(func(wf *wfv1.Workflow) {
		switch s.random.IntN(4) {
		case 0:
			s.argo.setPending(wf, "Waiting for a lock")
		case 1:
			s.argo.setPodPending(wf, "")
		default:
			s.argo.runStep(wf, contract.StepBuild)
		}
	})
}

// finish applies what Argo does to a Workflow that has not finished, if there is one.
func (s *soak) finish(what func(*wfv1.Workflow)) {
	var running []wfv1.Workflow
	for _, wf := range s.argo.workflows() {
		if !wf.Status.Phase.Completed() && wf.DeletionTimestamp.IsZero() {
			running = append(running, wf)
		}
	}
	if len(running) > 0 {
		what(&running[s.random.IntN(len(running))])
	}
}

// withLast applies what a user does to the Workflow of a ModelVersion in this phase.
func (s *soak) withLast(phase v1alpha1.ImageBuildPhase, what func(*wfv1.Workflow)) {
	mv := s.anyVersion()
	if mv == nil || mv.Status.ImageBuildPhase != phase || mv.Status.Workflow == nil {
		return
	}
	wf := &wfv1.Workflow{}
	if s.client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: mv.Status.Workflow.Name}, wf) == nil {
		what(wf)
	}
}

// list returns the ModelVersions.
func (s *soak) list() []v1alpha1.ModelVersion {
	var list v1alpha1.ModelVersionList
	require.NoError(s.t, s.client.List(s.t.Context(), &list, client.InNamespace(s.namespace)))
	return list.Items
}

func (s *soak) anyVersion() *v1alpha1.ModelVersion {
	list := s.list()
	if len(list) == 0 {
		return nil
	}
	return &list[s.random.IntN(len(list))]
}

func (s *soak) remove(o client.Object) {
	require.NoError(s.t, client.IgnoreNotFound(s.client.Delete(s.t.Context(), o)))
}

// collectGarbage does what the garbage collector and the protection of volumes do: it
// deletes Workflows whose ModelVersion is gone, and lets go volumes that are deleted.
func (s *soak) collectGarbage() {
	exist := map[string]bool{}
	for _, mv := range s.list() {
		exist[string(mv.UID)] = true
	}
	for _, wf := range s.argo.workflows() {
		if owner := metav1.GetControllerOf(&wf); owner == nil || !exist[string(owner.UID)] {
			s.remove(&wf)
		}
	}
	var claims corev1.PersistentVolumeClaimList
	require.NoError(s.t, s.client.List(s.t.Context(), &claims, client.InNamespace(s.namespace)))
	var volumes corev1.PersistentVolumeList
	require.NoError(s.t, s.client.List(s.t.Context(), &volumes))
	var deleted []client.Object
	for i := range claims.Items {
		deleted = append(deleted, &claims.Items[i])
	}
	for i := range volumes.Items {
		deleted = append(deleted, &volumes.Items[i])
	}
	for _, o := range deleted {
		if !o.GetDeletionTimestamp().IsZero() {
			require.NoError(s.t, client.IgnoreNotFound(s.client.Patch(s.t.Context(), o, withoutFinalizers)))
		}
	}
}
