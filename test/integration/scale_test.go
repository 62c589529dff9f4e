package integration

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/controller"
)

// reads returns what the operator has read in a namespace, and of the namespace, as "get
// workflows". Workloads that wait for a model are listed in the background.
func (tr *transport) reads(namespace string) []string {
	var list []string
	for _, r := range tr.requestsIn(namespace) {
		_, resource, _ := strings.Cut(r.path, "/namespaces/"+namespace)
		switch {
		case r.isWrite():
		case resource == "":
			list = append(list, "get namespaces")
		case path.Dir(resource) == "/":
			list = append(list, "list "+path.Base(resource))
		default:
			list = append(list, "get "+path.Base(path.Dir(resource)))
		}
	}
	slices.Sort(list)
	return list
}

var listsOfWorkloads = []string{"list daemonsets", "list jobs", "list replicasets", "list statefulsets"}

// A version costs what it must: the namespace is prepared already, and the Workflow
// changes once.
func TestRequestsOfAVersion(t *testing.T) {
	op := startOperator(t, shared)
	s := newSandbox(t, shared)
	s.createReady()
	s.awaitLatest("resnet", s.latestVersion(resnet))
	writes, before := len(op.transport.changes(s.namespace)), len(op.transport.requestsIn(s.namespace))

	s.create(localVersion, set("metadata.name", "resnet-2"))
	wf := s.argo.awaitAttempt(s.version("resnet-2"), 1)
	s.awaitWorkflowPhase("resnet-2", wf, "")
	s.completeBuild(wf)
	s.awaitLatest("resnet", s.latestVersion("resnet-2"))

	assert.ElementsMatch(t, []string{
		"patch modelversions",        // the owner reference
		"post workflows",             //
		"patch modelversions/status", // pending
		"patch modelversions/status", // succeeded
		"patch models/status",        // the latest version
	}, op.transport.changes(s.namespace)[writes:])
	reads := &transport{requests: op.transport.requestsIn(s.namespace)[before:]}
	assert.Equal(t, []string{"get models", "get namespaces", "get workflows"},
		slices.DeleteFunc(reads.reads(s.namespace), func(read string) bool { return slices.Contains(listsOfWorkloads, read) }))
}

// An operator that starts reads nothing about versions that are finished, one by one.
func TestRequestsOfARestart(t *testing.T) {
	op := startOperator(t, shared)
	s := newSandbox(t, shared)
	const versions = 5
	for i := range versions {
		mv := s.create(localVersion, set("metadata.name", fmt.Sprintf("resnet-%d", i)))
		s.completeBuild(s.argo.awaitAttempt(mv, 1))
	}
	s.awaitLatest("resnet", s.latestVersion(fmt.Sprintf("resnet-%d", versions-1)))
	op.stop()

	next := startOperator(t, shared)
	require.Eventually(t, func() bool { return len(next.transport.reads(s.namespace)) >= len(listsOfWorkloads) }, deadline, tick)
	next.drainQueue(t, shared)
	// The workloads are listed that may wait for what became Ready recently.
	others := func() []string {
		isList := func(read string) bool { return slices.Contains(listsOfWorkloads, read) }
		return append(slices.DeleteFunc(next.transport.reads(s.namespace), isList), next.transport.summaries(s.namespace)...)
	}
	assert.Never(t, func() bool { return len(others()) > 0 }, 2*time.Second, 5*tick)
	assert.Empty(t, others())
	assert.Less(t, len(next.transport.reads(s.namespace)), versions*len(listsOfWorkloads), "they are listed for all versions at once")
}

// gate lets the requests that create Workflows pass one by one.
type gate struct {
	next    http.RoundTripper
	closed  atomic.Bool
	waiting atomic.Int64
	pass    chan struct{}
}

func (g *gate) wrap(next http.RoundTripper) http.RoundTripper {
	g.next = next
	return g
}

// RoundTrip sends a request once the gate lets it pass.
func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if g.closed.Load() && r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/workflows") {
		g.waiting.Add(1)
		defer g.waiting.Add(-1)
		select {
		case <-g.pass:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return g.next.RoundTrip(r)
}

// A build that has ended does not wait for those that have not begun.
func TestEndedBeforeNotBegun(t *testing.T) {
	g := &gate{pass: make(chan struct{})}
	op := startOperator(t, shared, func(o *settings) { o.wrap = g.wrap })
	s, wf := startBuild(t)
	s.awaitWorkflowPhase(resnet, wf, "")

	g.closed.Store(true)
	const others = 100
	for i := range others {
		s.create(localVersion, set("metadata.name", fmt.Sprintf("other-%d", i)))
	}
	// All workers are at the gate.
	require.Eventually(t, func() bool { return g.waiting.Load() == controller.Workers }, deadline, tick)
	s.argo.completeWorkflow(wf)
	begun := 0
	require.Eventually(t, func() bool {
		if readyReason(s.version(resnet)) == v1alpha1.ReasonSucceeded {
			return true
		}
		g.pass <- struct{}{}
		begun++
		return false
	}, deadline, 5*tick)
	assert.Less(t, begun, others-2*controller.Workers, "the builds that began before the one that had ended was looked at")
	op.stop() // Otherwise it would begin the others.
}
