// Command modelkiln is the operator: it turns ModelVersions into images.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/controller"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "modelkiln:", err)
		os.Exit(1)
	}
}

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

func run() error {
	configFile := flag.String("config", "", "the configuration file; the defaults hold without one")
	metricsAddress := flag.String("metrics-bind-address", ":8443", "where metrics are served, with TLS and to authorized clients only; 0 for not at all")
	probeAddress := flag.String("health-probe-bind-address", ":8081", "where /healthz and /readyz are served")
	leaderElect := flag.Bool("leader-elect", false, "let one of several replicas work at a time")
	logLevel := zap.LevelFlag("log-level", zap.InfoLevel, "debug, info or error")
	flag.Parse()

	if err := setLogger(zap.NewAtomicLevelAt(*logLevel)); err != nil {
		return err
	}
	cfg, err := config.Load(*configFile)
	if err != nil {
		return err
	}
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Scheme: scheme,
		Cache:  controller.CacheOptions(),
		Metrics: metricsserver.Options{
			BindAddress:    *metricsAddress,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		HealthProbeBindAddress: *probeAddress,
		LeaderElection:         *leaderElect,
		LeaderElectionID:       "modelkiln.model.kubedl.io",
		// The process ends when the manager does, so the next leader need not
		// wait for the lease to run out.
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("set up manager: %w", err)
	}
	if err := register(mgr, cfg); err != nil {
		return err
	}
	return mgr.Start(ctrl.SetupSignalHandler())
}

func register(mgr ctrl.Manager, cfg config.Config) error {
	versions := &controller.ModelVersionReconciler{
		Client:     mgr.GetClient(),
		Live:       mgr.GetAPIReader(),
		Recorder:   mgr.GetEventRecorder("modelkiln"),
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
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, wfv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("set up scheme: %w", err)
		}
	}
	return scheme, nil
}

func setLogger(level zap.AtomicLevel) error {
	settings := zap.NewProductionConfig()
	settings.Level = level
	settings.DisableStacktrace = true
	base, err := settings.Build()
	if err != nil {
		return fmt.Errorf("set up logging: %w", err)
	}
	logger := zapr.NewLogger(base)
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	return nil
}
