package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// What deploy/webhook installs.
const (
	// ServiceName is the Service by which the API server finds the operator.
	ServiceName = "modelkiln-webhook"
	// SecretName is the Secret, in the operator's namespace, that the replicas
	// share the certificate by.
	SecretName = "modelkiln-webhook"
	// ConfigurationName is the MutatingWebhookConfiguration.
	ConfigurationName = "modelkiln-pods"
	// WorkloadsConfigurationName is the ValidatingWebhookConfiguration.
	WorkloadsConfigurationName = "modelkiln-workloads"
)

// Certificates makes the certificate that the webhook is served with, replaces it
// in time, has every replica serve it, and has the API server trust it.
//
// client-go makes the certificates. The libraries that also do what is done here
// (cert-controller, Knative's) read all Secrets of the namespace and all webhook
// configurations of the cluster, which the operator may not; and cert-controller
// serves from files, which the kubelet brings into the pod up to a minute late.
type Certificates struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Namespace is the operator's own.
	Namespace string
	// Host is the name or address by which the API server calls the webhook.
	Host string
	// Now is the clock.
	Now func() time.Time

	serving atomic.Pointer[tls.Certificate]
}

// The Secret and the configuration come with the manifests, empty: a right to
// create cannot be bounded by a name.
//
// +kubebuilder:rbac:groups="",resources=secrets,resourceNames=modelkiln-webhook,namespace=modelkiln-system,verbs=list;watch;update
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations,resourceNames=modelkiln-pods,verbs=list;watch;update
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingwebhookconfigurations,resourceNames=modelkiln-workloads,verbs=list;watch;update

// CacheObjects limits what is kept in memory to the three objects that Certificates
// reads, and what is asked of the API server to what the operator may read.
func CacheObjects(namespace string) map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.Secret{}: {Namespaces: map[string]cache.Config{namespace: {FieldSelector: named(SecretName)}}},
		&admissionregistrationv1.MutatingWebhookConfiguration{}:   {Field: named(ConfigurationName)},
		&admissionregistrationv1.ValidatingWebhookConfiguration{}: {Field: named(WorkloadsConfigurationName)},
	}
}

func named(name string) fields.Selector {
	return fields.OneTermEqualSelector(metav1.ObjectNameField, name)
}

// Reconcile has a good certificate in the Secret, trusted and served, in this
// order: what is served is trusted.
func (c *Certificates) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	current, err := c.current(ctx)
	if err != nil {
		return concluded(err)
	}
	if err := c.trust(ctx, current.authority); err != nil {
		return concluded(err)
	}
	c.serving.Store(&current.pair)
	return ctrl.Result{RequeueAfter: current.renewal.Sub(c.Now())}, nil
}

// current is the certificate in the Secret, or a new one that has been put there.
func (c *Certificates) current(ctx context.Context) (*certificate, error) {
	secret := &corev1.Secret{}
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: SecretName}, secret); err != nil {
		return nil, fmt.Errorf("get Secret %q, which deploy/webhook installs: %w", SecretName, err)
	}
	found, why := readCertificate(secret.Data, c.Host, c.Now())
	if why == nil {
		return found, nil
	}
	data, err := newCertificate(c.Host)
	if err != nil {
		return nil, err
	}
	made, err := readCertificate(data, c.Host, c.Now())
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", c.Host, err)
	}
	secret.Data = data
	if err := c.Client.Update(ctx, secret); err != nil {
		return nil, fmt.Errorf("update Secret %q: %w", SecretName, err)
	}
	ctrl.LoggerFrom(ctx).Info("Made a certificate for the webhook", "host", c.Host, "reason", why.Error())
	return made, nil
}

// trust has the API server trust what this authority has signed. That there is no
// configuration is somebody's wish: nothing asks then.
func (c *Certificates) trust(ctx context.Context, authority []byte) error {
	pods := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := c.trustIn(ctx, pods, ConfigurationName, authority, func() (bundles []*[]byte) {
		for i := range pods.Webhooks {
			bundles = append(bundles, &pods.Webhooks[i].ClientConfig.CABundle)
		}
		return bundles
	}); err != nil {
		return err
	}
	workloads := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	return c.trustIn(ctx, workloads, WorkloadsConfigurationName, authority, func() (bundles []*[]byte) {
		for i := range workloads.Webhooks {
			bundles = append(bundles, &workloads.Webhooks[i].ClientConfig.CABundle)
		}
		return bundles
	})
}

// trustIn puts the authority into the bundles of one configuration.
func (c *Certificates) trustIn(ctx context.Context, configuration client.Object, name string, authority []byte, bundles func() []*[]byte) error {
	err := c.Client.Get(ctx, client.ObjectKey{Name: name}, configuration)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get webhook configuration %q: %w", name, err)
	}
	trusted := true
	for _, bundle := range bundles() {
		trusted = trusted && bytes.Equal(*bundle, authority)
		*bundle = authority
	}
	if trusted {
		return nil
	}
	if err := c.Client.Update(ctx, configuration); err != nil {
		return fmt.Errorf("update webhook configuration %q: %w", name, err)
	}
	return nil
}

// concluded ends a pass with an error. A conflict says that another replica was
// quicker: the watch brings what that has written.
func concluded(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{}, err
}

// Get is the certificate to serve.
func (c *Certificates) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if serving := c.serving.Load(); serving != nil {
		return serving, nil
	}
	return nil, errors.New("the webhook has no certificate yet")
}

// Ready says whether there is a certificate to serve, for the readiness probe.
func (c *Certificates) Ready(*http.Request) error {
	_, err := c.Get(nil)
	return err
}

// SetupWithManager registers the reconciler, which runs in every replica: each of
// them serves the webhook.
func (c *Certificates) SetupWithManager(mgr ctrl.Manager) error {
	one := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: c.Namespace, Name: SecretName}}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("webhook-certificates").
		Watches(&corev1.Secret{}, one).
		Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, one).
		Watches(&admissionregistrationv1.ValidatingWebhookConfiguration{}, one).
		WithOptions(controller.Options{NeedLeaderElection: ptr.To(false)}).
		Complete(c)
}
