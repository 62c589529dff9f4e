// Package manager assembles the operator: its caches, its controllers, the webhook,
// metrics and probes. The operator's program and the integration tests run the same
// manager.
package manager

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/controller"
	"github.com/modelkiln/modelkiln/internal/metrics"
)

// Options configure one process of the operator.
type Options struct {
	// MetricsAddress is the address of the metrics server, which uses TLS and
	// serves authorized clients only; "0" disables it.
	MetricsAddress string
	// ProbeAddress is the address of the server of /healthz and /readyz; "0"
	// disables it.
	ProbeAddress string
	// WebhookAddress is the address of the webhook server, which uses TLS; "0"
	// disables it.
	WebhookAddress string
	// WebhookHost is the name or address by which the API server calls the
	// webhook; that of the Service in deploy/ if empty.
	WebhookHost string
	// WebhookClientCAFile is a PEM file with the authorities of the clients that the
	// webhook server serves; it serves every client if empty.
	WebhookClientCAFile string
	// WebhookClientName is the common name, or a DNS name, in the certificate of
	// those clients; any if empty. It requires WebhookClientCAFile.
	WebhookClientName string
	// Namespace is the operator's namespace. The webhook needs it.
	Namespace string
	// LeaderElect enables leader election, so that only one replica is active.
	LeaderElect bool
	// LeaderElectionNamespace holds the lease of the replicas; the pod's own
	// namespace if empty.
	LeaderElectionNamespace string
	// SharedProcess is true if other managers run, or have run, in this process,
	// as in tests. Their metrics are added up.
	SharedProcess bool
	// Now is the clock of conditions and of what the operator waits for; time.Now if
	// nil. No time of another clock is compared with it.
	Now func() time.Time
}

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// New returns the operator, which is not started yet. The context is that of the
// requests with which it finds the kinds that the cluster has.
func New(ctx context.Context, rc *rest.Config, cfg config.Config, o Options) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	caches := controller.CacheSettings{Namespaces: cfg.Namespaces, WatchFailed: metrics.Shared().WatchFailed}
	options := managerOptions(scheme, caches, o)
	var setUps []func(ctrl.Manager, config.Config, controller.CacheSettings) error
	// A process has one registry: of several managers in it, one serves metrics.
	if o.MetricsAddress != "0" {
		setUps = append(setUps, setUpMetrics)
	}
	if o.WebhookAddress != "0" {
		server, err := newWebhookServer(o)
		if err != nil {
			return nil, err
		}
		server.configure(&options)
		setUps = append(setUps, server.setUp)
	}
	mgr, err := ctrl.NewManager(rc, options)
	if err != nil {
		return nil, fmt.Errorf("set up manager: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	passes := &controller.Passes{Cache: mgr.GetCache(), Now: o.Now}
	if err := setUpControllers(ctx, mgr, cfg, caches, passes); err != nil {
		return nil, err
	}
	if err := setUpProbes(mgr, passes); err != nil {
		return nil, err
	}
	for _, setUp := range setUps {
		if err := setUp(mgr, cfg, caches); err != nil {
			return nil, err
		}
	}
	return mgr, nil
}

func managerOptions(scheme *runtime.Scheme, caches controller.CacheSettings, o Options) ctrl.Options {
	return ctrl.Options{
		Scheme: scheme,
		Cache:  controller.CacheOptions(caches),
		Metrics: metricsserver.Options{
			BindAddress:    o.MetricsAddress,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		HealthProbeBindAddress:  o.ProbeAddress,
		LeaderElection:          o.LeaderElect,
		LeaderElectionID:        "modelkiln.model.kubedl.io",
		LeaderElectionNamespace: o.LeaderElectionNamespace,
		// The process ends when the manager does, so the next leader need not
		// wait for the lease to expire.
		LeaderElectionReleaseOnCancel: true,
		Controller:                    ctrlconfig.Controller{SkipNameValidation: &o.SharedProcess},
	}
}

// setUpControllers registers all controllers; only that of the webhook's
// certificate is set up with the webhook, since it runs in every replica.
//
// The watchers come last: they have the controllers before them watch kinds that
// the cluster may not have.
func setUpControllers(ctx context.Context, mgr ctrl.Manager, cfg config.Config, caches controller.CacheSettings, passes *controller.Passes) error {
	recorder := mgr.GetEventRecorder("modelkiln")
	training, err := controller.NewTrainingCache(mgr, caches)
	if err != nil {
		return err
	}
	attach, err := controller.NewAttachCache(ctx, mgr, caches)
	if err != nil {
		return err
	}
	serving, err := controller.NewServingCache(ctx, mgr, caches)
	if err != nil {
		return err
	}
	argo := &controller.ArgoCache{Settings: caches}
	namespaces := &controller.Namespaces{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), RegistryCA: cfg.RegistryCA(), ServiceAccountAnnotations: cfg.BuildPods.ServiceAccountAnnotations, Now: passes.Now}
	versions := &controller.ModelVersionReconciler{
		Client:     mgr.GetClient(),
		Live:       mgr.GetAPIReader(),
		Recorder:   recorder,
		Metrics:    metrics.Shared(),
		Passes:     passes,
		Options:    cfg.Options(),
		Namespaces: namespaces,
		Argo:       argo.Reader,
		Training:   training,
		Attach:     attach,
		Now:        passes.Now,
	}
	volumes := &controller.VolumeReconciler{Client: mgr.GetClient(), Passes: passes, Live: mgr.GetAPIReader(), Options: cfg.Options(), Namespaces: cfg.Namespaces}
	models := &controller.ModelReconciler{
		Client:     mgr.GetClient(),
		Live:       mgr.GetAPIReader(),
		Serving:    serving,
		Argo:       argo.Reader,
		Namespaces: namespaces,
		Options:    cfg.Options(),
		Passes:     passes,
		Now:        passes.Now,
	}
	workloads := &controller.WorkloadReconciler{
		Client:   mgr.GetClient(),
		Live:     mgr.GetAPIReader(),
		Training: training,
		Recorder: recorder,
		Passes:   passes,
		Options:  cfg.Options(),

		Namespaces: cfg.Namespaces,
	}
	blocked := &controller.BlockedWorkloadReconciler{
		Client:   mgr.GetClient(),
		Live:     mgr.GetAPIReader(),
		Recorder: recorder,
		Passes:   passes,
		Now:      passes.Now,
	}
	for _, c := range []struct {
		name  string
		setUp func() error
	}{
		{"ModelVersion", func() error { return versions.SetupWithManager(ctx, mgr) }},
		{"volume", func() error { return volumes.SetupWithManager(ctx, mgr) }},
		{"Model", func() error { return models.SetupWithManager(ctx, mgr) }},
		{"workload", func() error { return workloads.SetupWithManager(mgr) }},
		{"blocked workload", func() error { return blocked.SetupWithManager(mgr) }},
		{"Argo kinds", func() error { return controller.NewArgoWatcher(mgr, argo, versions, models).SetupWithManager(ctx, mgr) }},
		{"training kinds", func() error {
			return controller.NewTrainingWatcher(mgr, versions, workloads).SetupWithManager(ctx, mgr)
		}},
		{"template lists", func() error {
			return mgr.Add(controller.TemplateLists{Live: mgr.GetAPIReader(), Options: cfg.Options()})
		}},
	} {
		if err := c.setUp(); err != nil {
			return fmt.Errorf("set up the %s controller: %w", c.name, err)
		}
	}
	return nil
}

func setUpMetrics(mgr ctrl.Manager, _ config.Config, _ controller.CacheSettings) error {
	if err := mgr.Add(metrics.Versions{Reader: mgr.GetClient(), Registry: ctrlmetrics.Registry}); err != nil {
		return fmt.Errorf("set up metrics: %w", err)
	}
	return nil
}

func setUpProbes(mgr ctrl.Manager, passes *controller.Passes) error {
	if err := mgr.AddHealthzCheck("passes", passes.Check); err != nil {
		return fmt.Errorf("set up health check: %w", err)
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("set up readiness check: %w", err)
	}
	return nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, controller.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("set up scheme: %w", err)
		}
	}
	return scheme, nil
}
