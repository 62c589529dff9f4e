package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/builders"
)

// measurement is what one scenario has cost one operator.
type measurement struct {
	scenario scenario
	program  program
	// wall is from the first ModelVersion's creation until the last one was Ready. cpu is
	// the operator's CPU time until it was stopped, and serverCPU that of the API server
	// and etcd in the meantime.
	wall, cpu, serverCPU time.Duration
	// ready is when each ModelVersion became Ready, since the first one's creation.
	ready []time.Duration
	// lags are from the end of each build until its ModelVersion was Ready.
	lags []time.Duration
	// load are the requests until then, idle those in idleTime afterwards, and restart
	// those of the next operator.
	load, idle, restart requests
	// steady is from the start of the next operator to its last request.
	steady time.Duration
	// memory and peak are bytes that were resident when the first operator was idle, and
	// at most, and memoryRestarted when the next one was idle.
	memory, peak, memoryRestarted int64
	// plain is how many versions a second a plain client makes.
	plain float64
}

// idleTime is for how long the idle operator is watched, and quiet after how long
// without a request an operator counts as idle.
const (
	idleTime = 30 * time.Second
	quiet    = 5 * time.Second
)

func (m measurement) throughput() float64 { return float64(m.scenario.versions) / m.wall.Seconds() }

// quarter returns how many versions a second became Ready in the nth quarter, from 0.
func (m measurement) quarter(n int) float64 {
	size := len(m.ready) / 4
	begin := time.Duration(0)
	if n > 0 {
		begin = m.ready[n*size-1]
	}
	return float64(size) / (m.ready[(n+1)*size-1] - begin).Seconds()
}

// lag returns a quantile of the lags.
func (m measurement) lag(quantile float64) time.Duration {
	return m.lags[int(quantile*float64(len(m.lags)-1))]
}

// measure measures an operator with a new API server.
func (s settings) measure(ctx context.Context, scenario scenario, p program) (m measurement, err error) {
	server, err := startServer(ctx, s.dir)
	if err != nil {
		return m, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel() // The API server waits for watches to end.
		err = errors.Join(err, server.stop())
	}()
	m = measurement{scenario: scenario, program: p}
	before, err := cpuOf("kube-apiserver", "etcd")
	if err != nil {
		return m, err
	}
	first, err := startOperator(ctx, p.path, server.kubeconfig)
	if err != nil {
		return m, err
	}
	if err := m.loadAndIdle(ctx, server, first); err != nil {
		return m, errors.Join(err, first.cmd.Process.Kill())
	}
	if m.cpu, err = first.stop(); err != nil {
		return m, err
	}
	after, err := cpuOf("kube-apiserver", "etcd")
	if err != nil {
		return m, err
	}
	m.serverCPU = after - before
	return m, m.restartAndIdle(ctx, server)
}

func (m *measurement) loadAndIdle(ctx context.Context, s *server, o *operator) error {
	if _, err := s.audit.settle(ctx, quiet); err != nil {
		return err
	}
	argo := &argoStandIn{client: s.client, ended: map[string]time.Time{}}
	if err := argo.run(ctx, s); err != nil {
		return err
	}
	if err := m.makeAllReady(ctx, s, argo); err != nil {
		return err
	}
	var err error
	if m.load, err = s.audit.settle(ctx, quiet); err != nil {
		return err
	}
	if err := pause(ctx, idleTime); err != nil {
		return err
	}
	if m.idle, err = s.audit.next(); err != nil {
		return err
	}
	m.memory, m.peak, err = o.memory()
	return err
}

// becameReady is when a ModelVersion was seen to be Ready.
type becameReady struct {
	version *v1alpha1.ModelVersion
	at      time.Time
}

// makeAllReady creates the ModelVersions and waits until they are Ready.
func (m *measurement) makeAllReady(ctx context.Context, s *server, argo *argoStandIn) error {
	changes := make(chan becameReady, 1000)
	err := s.watch(ctx, &v1alpha1.ModelVersion{}, func(o any, _ bool) {
		mv := o.(*v1alpha1.ModelVersion)
		if phase := mv.Status.ImageBuildPhase; phase == v1alpha1.ImageBuildSucceeded || phase == v1alpha1.ImageBuildFailed {
			changes <- becameReady{mv, time.Now()}
		}
	})
	if err != nil {
		return err
	}
	start := time.Now()
	created := make(chan error, 1)
	go func() { created <- createVersions(ctx, s.client, m.scenario) }()
	seen := map[string]bool{}
	for len(seen) < m.scenario.versions {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case change := <-changes:
			if change.version.Status.ImageBuildPhase == v1alpha1.ImageBuildFailed {
				return fmt.Errorf("ModelVersion %s failed: %s", change.version.Name, change.version.Status.Message)
			}
			if !seen[change.version.Name] {
				seen[change.version.Name] = true
				m.record(change, start, argo)
			}
		case <-time.After(time.Minute):
			return errors.Join(fmt.Errorf("no ModelVersion became Ready for a minute; %d of %d are", len(seen), m.scenario.versions), argo.failure())
		}
	}
	m.wall = time.Since(start)
	slices.Sort(m.lags)
	return <-created
}

// record records when a ModelVersion became Ready. The operator may have seen the end of
// its Workflow before the stand-in has its response.
func (m *measurement) record(change becameReady, start time.Time, argo *argoStandIn) {
	m.ready = append(m.ready, change.at.Sub(start))
	lag := time.Duration(0)
	if end, ended := argo.endOf(change.version.Status.Workflow.Name); ended {
		lag = change.at.Sub(end)
	}
	m.lags = append(m.lags, lag)
}

// restartAndIdle starts the operator again, when all ModelVersions are Ready.
func (m *measurement) restartAndIdle(ctx context.Context, s *server) error {
	if _, err := s.audit.settle(ctx, quiet); err != nil {
		return err
	}
	start := time.Now()
	next, err := startOperator(ctx, m.program.path, s.kubeconfig)
	if err != nil {
		return err
	}
	if m.restart, err = s.audit.settle(ctx, 2*quiet); err != nil {
		return errors.Join(err, next.cmd.Process.Kill())
	}
	m.steady = m.restart.last.Sub(start)
	if m.memoryRestarted, _, err = next.memory(); err != nil {
		return err
	}
	_, err = next.stop()
	return err
}

// forEach calls a function for the numbers of a scenario's versions, for as many at a
// time as there are clients.
func forEach(ctx context.Context, scenario scenario, do func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for i := range scenario.versions {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

func createVersions(ctx context.Context, c client.Client, scenario scenario) error {
	return forEach(ctx, scenario, func(ctx context.Context, i int) error { return c.Create(ctx, scenario.version(i)) })
}

// version returns the ith ModelVersion.
func (s scenario) version(i int) *v1alpha1.ModelVersion {
	model := fmt.Sprintf("model-%03d", i%s.models)
	mv := builders.MakeModelVersion(fmt.Sprintf("%s-v%05d", model, i), namespace).Model(model).
		ImageRepo("modelhub/"+model).ImageTag(fmt.Sprintf("v%d", i)).LocalStorage("/models/"+model, "node-1")
	return mv.New()
}

// measurePlainClient measures how many ModelVersions a second a client makes that writes
// what the operator and Argo write at least: the ModelVersion, its Workflow, the end of
// the Workflow and two statuses.
func (s settings) measurePlainClient(ctx context.Context, all scenario) (perSecond float64, err error) {
	server, err := startServer(ctx, s.dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	some := scenario{versions: min(all.versions, 1_000), models: all.models}
	start := time.Now()
	err = forEach(ctx, some, func(ctx context.Context, i int) error { return makeReady(ctx, server.client, some.version(i)) })
	return float64(some.versions) / time.Since(start).Seconds(), err
}

func makeReady(ctx context.Context, c client.Client, mv *v1alpha1.ModelVersion) error {
	if err := c.Create(ctx, mv); err != nil {
		return err
	}
	wf, problem := workflow.New(mv, workflow.Attempt{Number: 1}, config.Default().Options())
	if problem != nil {
		return errors.New(problem.Message)
	}
	if err := c.Create(ctx, wf); err != nil {
		return err
	}
	if err := patchPhase(ctx, c, mv, v1alpha1.ImageBuilding); err != nil {
		return err
	}
	if err := finishWorkflow(ctx, c, wf); err != nil {
		return err
	}
	return patchPhase(ctx, c, mv, v1alpha1.ImageBuildSucceeded)
}

func patchPhase(ctx context.Context, c client.Client, mv *v1alpha1.ModelVersion, phase v1alpha1.ImageBuildPhase) error {
	before := mv.DeepCopy()
	mv.Status.ImageBuildPhase = phase
	return c.Status().Patch(ctx, mv, client.MergeFrom(before))
}
