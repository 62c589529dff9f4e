// Package manager puts the operator together: what it may keep in memory, its
// controllers, and what it serves. The operator's program and the integration
// tests start the same thing.
package manager

import (
	"fmt"
	"maps"
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

// Options are how one process runs the operator.
type Options struct {
	// MetricsAddress is where metrics are served, with TLS and to authorized
	// clients only; "0" for not at all.
	MetricsAddress string
	// ProbeAddress is where /healthz and /readyz are served; "0" for not at
	// all.
	ProbeAddress string
	// WebhookAddress is where the API server's questions are answered, with TLS;
	// "0" for not at all.
	WebhookAddress string
	// WebhookHost is the name or address by which the API server calls the
	// webhook: that of the Service in deploy/ when empty.
	WebhookHost string
	// Namespace is the operator's own. The webhook needs it.
	Namespace string
	// LeaderElect lets one of several replicas work at a time.
	LeaderElect bool
	// LeaderElectionNamespace holds the replicas' lease; the pod's own
	// namespace when empty.
	LeaderElectionNamespace string
	// SharedProcess says that other managers run, or have run, in this
	// process, as in tests. Their metrics are added up.
	SharedProcess bool
}

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// New is the operator, not started yet.
func New(rc *rest.Config, cfg config.Config, o Options) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	hook, err := newHook(o)
	if err != nil {
		return nil, err
	}
	cached := controller.CacheOptions()
	maps.Copy(cached.ByObject, hook.cached())
	mgr, err := ctrl.NewManager(rc, ctrl.Options{
		Scheme:        scheme,
		Cache:         cached,
		WebhookServer: hook.server(),
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
		// wait for the lease to run out.
		LeaderElectionReleaseOnCancel: true,
		Controller:                    ctrlconfig.Controller{SkipNameValidation: &o.SharedProcess},
	})
	if err != nil {
		return nil, fmt.Errorf("set up manager: %w", err)
	}
	if err := register(mgr, cfg); err != nil {
		return nil, err
	}
	if err := hook.register(mgr, cfg); err != nil {
		return nil, err
	}
	return mgr, nil
}

func register(mgr ctrl.Manager, cfg config.Config) error {
	versions := &controller.ModelVersionReconciler{
		Client:     mgr.GetClient(),
		Live:       mgr.GetAPIReader(),
		Recorder:   mgr.GetEventRecorder("modelkiln"),
		Metrics:    metrics.Shared(),
		Options:    cfg.Options(),
		RegistryCA: cfg.RegistryCA(),
		Now:        time.Now,
	}
	if err := versions.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up ModelVersion controller: %w", err)
	}
	models := &controller.ModelReconciler{Client: mgr.GetClient()}
	if err := models.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up Model controller: %w", err)
	}
	waiting := &controller.WaitingReconciler{
		Client:   mgr.GetClient(),
		Live:     mgr.GetAPIReader(),
		Recorder: mgr.GetEventRecorder("modelkiln"),
		Now:      time.Now,
	}
	if err := waiting.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the controller for workloads that wait: %w", err)
	}
	if err := mgr.Add(metrics.Versions{Reader: mgr.GetClient(), Registry: ctrlmetrics.Registry}); err != nil {
		return fmt.Errorf("set up metrics: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
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
