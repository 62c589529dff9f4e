package manager

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/webhook"
	"github.com/modelkiln/modelkiln/internal/webhook/certs"
)

// webhookServer is the server of the admission webhooks, with its certificate.
type webhookServer struct {
	host    string
	port    int
	rotator *certs.Rotator
}

func newWebhookServer(o Options) (*webhookServer, error) {
	host, portName, err := net.SplitHostPort(o.WebhookAddress)
	if err != nil {
		return nil, fmt.Errorf("set up webhook: %w", err)
	}
	port, err := strconv.Atoi(portName)
	if err != nil {
		return nil, fmt.Errorf("set up webhook: the port %q of --webhook-bind-address is not a number", portName)
	}
	if o.Namespace == "" {
		return nil, errors.New("set up webhook: --namespace is required, unless --webhook-bind-address is 0")
	}
	rotator := &certs.Rotator{Namespace: o.Namespace, Host: o.WebhookHost, Now: time.Now}
	if rotator.Host == "" {
		rotator.Host = certs.ServiceName + "." + o.Namespace + ".svc"
	}
	return &webhookServer{host: host, port: port, rotator: rotator}, nil
}

// configure adds the server, and the objects that it caches, to the options of the
// manager. The server starts once something is registered with it.
func (s *webhookServer) configure(options *ctrl.Options) {
	options.WebhookServer = ctrlwebhook.NewServer(ctrlwebhook.Options{
		Host:    s.host,
		Port:    s.port,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.GetCertificate = s.rotator.Get }},
	})
	maps.Copy(options.Cache.ByObject, certs.CacheObjects(s.rotator.Namespace))
}

// setUp registers the webhooks, which every replica serves. A replica is not ready
// before it can serve them, so that it gets no requests until then.
func (s *webhookServer) setUp(mgr ctrl.Manager, cfg config.Config) error {
	s.rotator.Client = mgr.GetClient()
	if err := s.rotator.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the webhook's certificates: %w", err)
	}
	apiServer, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("set up webhook: %w", err)
	}
	training := &webhook.Training{Live: mgr.GetAPIReader(), Options: cfg.Options()}
	serving := &webhook.Serving{Live: mgr.GetAPIReader(), Server: apiServer, Mount: cfg.ServingMount}
	workloads := &webhook.Workloads{Client: mgr.GetClient(), Options: cfg.Options()}
	server := mgr.GetWebhookServer()
	server.Register(webhook.TrainingPath, admission.WithDefaulter[*corev1.Pod](mgr.GetScheme(), training))
	server.Register(webhook.ServingPath, admission.WithDefaulter[*corev1.Pod](mgr.GetScheme(), serving))
	server.Register(webhook.WorkloadsPath, &admission.Webhook{Handler: workloads})
	if err := mgr.AddReadyzCheck("webhook-certificate", s.rotator.Ready); err != nil {
		return fmt.Errorf("set up readiness check: %w", err)
	}
	if err := mgr.AddReadyzCheck("webhook", server.StartedChecker()); err != nil {
		return fmt.Errorf("set up readiness check: %w", err)
	}
	return nil
}
