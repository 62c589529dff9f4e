package manager

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/webhook"
)

// hook is what an operator that serves the webhook has beside the controllers.
// That of an operator which does not is nil.
type hook struct {
	host         string
	port         int
	certificates *webhook.Certificates
}

func newHook(o Options) (*hook, error) {
	if o.WebhookAddress == "0" {
		return nil, nil
	}
	host, portName, err := net.SplitHostPort(o.WebhookAddress)
	if err != nil {
		return nil, fmt.Errorf("set up webhook: %w", err)
	}
	port, err := strconv.Atoi(portName)
	if err != nil {
		return nil, fmt.Errorf("set up webhook: port %q is not a number", portName)
	}
	if o.Namespace == "" {
		return nil, errors.New("set up webhook: the operator's namespace is not known: name it with --namespace")
	}
	certificates := &webhook.Certificates{Namespace: o.Namespace, Host: o.WebhookHost, Now: time.Now}
	if certificates.Host == "" {
		certificates.Host = webhook.ServiceName + "." + o.Namespace + ".svc"
	}
	return &hook{host: host, port: port, certificates: certificates}, nil
}

// cached is what the operator keeps in memory for the webhook.
func (h *hook) cached() map[client.Object]cache.ByObject {
	if h == nil {
		return nil
	}
	return webhook.CacheObjects(h.certificates.Namespace)
}

// server is the server for the webhook. It starts when something is registered.
func (h *hook) server() ctrlwebhook.Server {
	if h == nil {
		return nil
	}
	return ctrlwebhook.NewServer(ctrlwebhook.Options{
		Host:    h.host,
		Port:    h.port,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.GetCertificate = h.certificates.Get }},
	})
}

// register has the manager serve the webhook, in every replica, and makes an
// operator that cannot yet not ready, so that no pod is sent to it.
func (h *hook) register(mgr ctrl.Manager, cfg config.Config) error {
	if h == nil {
		return nil
	}
	h.certificates.Client = mgr.GetClient()
	if err := h.certificates.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the webhook's certificates: %w", err)
	}
	asked, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("set up webhook: %w", err)
	}
	training := &webhook.Training{Live: mgr.GetAPIReader(), Options: cfg.Options()}
	serving := &webhook.Serving{Live: mgr.GetAPIReader(), Server: asked, Mount: cfg.ServingMount}
	server := mgr.GetWebhookServer()
	server.Register(webhook.TrainingPath, admission.WithDefaulter[*corev1.Pod](mgr.GetScheme(), training))
	server.Register(webhook.WorkloadsPath, &admission.Webhook{Handler: &webhook.Workloads{Client: mgr.GetClient(), Options: cfg.Options()}})
	server.Register(webhook.ServingPath, admission.WithDefaulter[*corev1.Pod](mgr.GetScheme(), serving))
	if err := mgr.AddReadyzCheck("webhook-certificate", h.certificates.Ready); err != nil {
		return fmt.Errorf("set up readiness check: %w", err)
	}
	if err := mgr.AddReadyzCheck("webhook", server.StartedChecker()); err != nil {
		return fmt.Errorf("set up readiness check: %w", err)
	}
	return nil
}
