// Command modelkiln is the operator: it turns ModelVersions into images.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/manager"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "modelkiln:", err)
		os.Exit(1)
	}
}

func run() error {
	var options manager.Options
	configFile := flag.String("config", "", "the configuration file; the defaults hold without one")
	flag.StringVar(&options.MetricsAddress, "metrics-bind-address", ":8443", "where metrics are served, with TLS and to authorized clients only; 0 for not at all")
	flag.StringVar(&options.ProbeAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served; 0 for not at all")
	flag.StringVar(&options.WebhookAddress, "webhook-bind-address", ":9443", "where the API server asks about pods that train or serve, with TLS; 0 for not at all")
	flag.StringVar(&options.Namespace, "namespace", "", "the operator's own namespace, which holds the webhook's certificate")
	flag.BoolVar(&options.LeaderElect, "leader-elect", false, "let one of several replicas work at a time")
	logLevel := zap.LevelFlag("log-level", zap.InfoLevel, "debug, info or error")
	flag.Parse()

	if err := setLogger(zap.NewAtomicLevelAt(*logLevel)); err != nil {
		return err
	}
	cfg, err := config.Load(*configFile)
	if err != nil {
		return err
	}
	rc, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	mgr, err := manager.New(rc, cfg, options)
	if err != nil {
		return err
	}
	return mgr.Start(ctrl.SetupSignalHandler())
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
