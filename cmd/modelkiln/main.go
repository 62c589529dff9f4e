// Command modelkiln is the operator: it builds container images from ModelVersions.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/installation"
	"github.com/modelkiln/modelkiln/internal/manager"
	"github.com/modelkiln/modelkiln/internal/version"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "modelkiln:", err)
		os.Exit(1)
	}
}

func run() error {
	var options manager.Options
	configFile := flag.String("config", "", "path of the configuration file; all fields have their defaults if empty")
	flag.StringVar(&options.MetricsAddress, "metrics-bind-address", ":8443", `address of the metrics server (TLS, authorized clients only); "0" disables it`)
	flag.StringVar(&options.ProbeAddress, "health-probe-bind-address", ":8081", `address of the probe server (/healthz, /readyz); "0" disables it`)
	flag.StringVar(&options.WebhookAddress, "webhook-bind-address", ":9443", `address of the webhook server (TLS); "0" disables it`)
	flag.StringVar(&options.WebhookClientCAFile, "webhook-client-ca-file", "", "PEM file with the certificate authorities of the API servers' client certificates; the webhook server rejects clients without such a certificate. It serves every client if empty")
	flag.StringVar(&options.WebhookClientName, "webhook-client-name", "", "common name or DNS name that the client certificate must have; any name if empty. Requires --webhook-client-ca-file")
	flag.StringVar(&options.Namespace, "namespace", "", "namespace of the operator, for the Secret with the certificate of the webhook server; required unless that server is disabled")
	flag.BoolVar(&options.LeaderElect, "leader-elect", false, "elect a leader, so that only one replica runs the controllers")
	check := flag.String("check", "", "namespace in which to check that the API server serves Models and ModelVersions and, unless --webhook-bind-address is 0, that it reaches the webhooks of the operator that runs in the cluster; print the result and exit")
	printVersion := flag.Bool("version", false, "print the version and exit")
	logLevel := zap.LevelFlag("log-level", zap.InfoLevel, "minimum level of log messages: debug, info or error (default info)")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: modelkiln accepts flags only", flag.Arg(0))
	}

	if *printVersion {
		fmt.Println("modelkiln", version.Get())
		return nil
	}
	if err := setLogger(zap.NewAtomicLevelAt(*logLevel)); err != nil {
		return err
	}
	rc, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("load the configuration of the Kubernetes client: %w", err)
	}
	ctx := ctrl.SetupSignalHandler()
	if *check != "" {
		return checkInstallation(ctx, rc, *check, options)
	}
	cfg, err := config.Load(*configFile)
	if err != nil {
		return err
	}
	mgr, err := manager.New(ctx, rc, cfg, options)
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func checkInstallation(ctx context.Context, rc *rest.Config, namespace string, options manager.Options) error {
	if err := installation.Check(ctx, rc, namespace, options.WebhookAddress != "0"); err != nil {
		return err
	}
	fmt.Println("Modelkiln is installed: the API server serves Models and ModelVersions, and reaches the webhooks if they are enabled.")
	return nil
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
