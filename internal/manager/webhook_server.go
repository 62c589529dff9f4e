package manager

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/controller"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/webhook"
	"github.com/modelkiln/modelkiln/internal/webhook/certs"
)

// trustPropagation is how long API servers may take to notice that they have to trust
// another certificate.
const trustPropagation = 10 * time.Second

// webhookServer is the server of the admission webhooks, with its certificate.
type webhookServer struct {
	host    string
	port    int
	rotator *certs.Rotator
	// clients is how the API server authenticates, or nil if every client is served.
	clients *webhook.Clients
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
	rotator := &certs.Rotator{Namespace: o.Namespace, Host: o.WebhookHost, Propagation: trustPropagation}
	if rotator.Host == "" {
		rotator.Host = certs.ServiceName + "." + o.Namespace + ".svc"
	}
	clients, err := webhookClients(o)
	if err != nil {
		return nil, fmt.Errorf("set up webhook: %w", err)
	}
	return &webhookServer{host: host, port: port, rotator: rotator, clients: clients}, nil
}

// webhookClients returns which clients the options allow, or nil for all.
func webhookClients(o Options) (*webhook.Clients, error) {
	if o.WebhookClientCAFile == "" {
		if o.WebhookClientName != "" {
			return nil, errors.New("--webhook-client-name requires --webhook-client-ca-file")
		}
		return nil, nil
	}
	authority, err := os.ReadFile(o.WebhookClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("read --webhook-client-ca-file: %w", err)
	}
	return webhook.NewClients(authority, o.WebhookClientName)
}

// configure adds the server, and the objects that it caches, to the options of the
// manager. The server starts once something is registered with it.
func (s *webhookServer) configure(options *ctrl.Options) {
	options.WebhookServer = ctrlwebhook.NewServer(ctrlwebhook.Options{
		Host: s.host,
		Port: s.port,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) {
			c.GetCertificate = s.rotator.Get
			if s.clients != nil {
				s.clients.Require(c)
			}
		}},
	})
	maps.Copy(options.Cache.ByObject, certs.CacheObjects(s.rotator.Namespace))
}

// setUp registers the webhooks, which every replica serves. A replica is not ready
// before it can serve them, so that it gets no requests until then.
func (s *webhookServer) setUp(mgr ctrl.Manager, cfg config.Config, caches controller.CacheSettings) error {
	clock, err := certs.ServerClock(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("set up the webhook's certificates: %w", err)
	}
	s.rotator.Client, s.rotator.Clock = mgr.GetClient(), clock
	if err := s.rotator.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the webhook's certificates: %w", err)
	}
	apiServer, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("set up webhook: %w", err)
	}
	reviews, err := authorizationclient.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("set up webhook: %w", err)
	}
	access, err := webhook.NewAuthorizer(reviews)
	if err != nil {
		return fmt.Errorf("set up webhook: %w", err)
	}
	training := &webhook.Training{Live: mgr.GetAPIReader(), Options: cfg.Options()}
	serving := &webhook.Serving{Live: mgr.GetAPIReader(), Client: mgr.GetClient(), Server: apiServer, Mount: cfg.ServingMount, Verification: cfg.Verification.Rules(), Options: cfg.Options()}
	if cfg.ServingMount == inject.ServingAuto {
		if serving.Nodes, err = watchNodes(mgr, caches); err != nil {
			return fmt.Errorf("set up webhook: %w", err)
		}
		if err := mgr.AddReadyzCheck("nodes", serving.Nodes.Ready); err != nil {
			return fmt.Errorf("set up readiness check: %w", err)
		}
	}
	workloads := &webhook.Workloads{Client: mgr.GetClient(), Options: cfg.Options()}
	server, limiter := mgr.GetWebhookServer(), webhook.NewLimiter()
	for path, handler := range map[string]admission.Handler{
		webhook.TrainingPath:  webhook.Authorized(admission.WithDefaulter[*corev1.Pod](mgr.GetScheme(), training).Handler, access),
		webhook.ServingPath:   webhook.Authorized(admission.WithDefaulter[*corev1.Pod](mgr.GetScheme(), serving).Handler, access),
		webhook.WorkloadsPath: webhook.Authorized(workloads, access),
		webhook.DeletionPath:  webhook.Authorized(&webhook.Deletion{Live: mgr.GetAPIReader()}, access),
		webhook.CreatorPath:   webhook.Creator{},
		webhook.PromoterPath:  webhook.Promoter{},
		webhook.CopiesPath:    webhook.Copies{},
	} {
		server.Register(path, limiter.Wrap(&admission.Webhook{Handler: webhook.WithWarnings(handler)}))
	}
	if err := mgr.AddReadyzCheck("webhook-certificate", s.rotator.Ready); err != nil {
		return fmt.Errorf("set up readiness check: %w", err)
	}
	if err := mgr.AddReadyzCheck("webhook", once(server.StartedChecker())); err != nil {
		return fmt.Errorf("set up readiness check: %w", err)
	}
	return nil
}

// watchNodes returns the nodes, which the manager begins to watch when it starts.
func watchNodes(mgr ctrl.Manager, caches controller.CacheSettings) (*webhook.Nodes, error) {
	nodes, err := controller.NewNodeCache(mgr, caches)
	if err != nil {
		return nil, err
	}
	watched := &webhook.Nodes{Live: mgr.GetAPIReader(), Cache: nodes}
	return watched, mgr.Add(watched)
}

// once returns a check that is not repeated after it has succeeded: a server that
// has started ends with the process. Each connection of the check would be an error
// in the log if clients need a certificate.
func once(check healthz.Checker) healthz.Checker {
	var passed atomic.Bool
	return func(r *http.Request) error {
		if passed.Load() {
			return nil
		}
		err := check(r)
		passed.Store(err == nil)
		return err
	}
}
