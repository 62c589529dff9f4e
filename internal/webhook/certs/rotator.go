// Package certs creates the webhook's serving certificate, renews it, and
// configures the API server to trust it.
package certs

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
	"k8s.io/apimachinery/pkg/api/equality"
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

// Names of objects that deploy/webhook installs.
const (
	// ServiceName is the Service through which the API server calls the operator.
	ServiceName = "modelkiln-webhook"
	// SecretName is the Secret, in the operator's namespace, through which the
	// replicas share the certificate.
	SecretName = "modelkiln-webhook"
	// PodsConfigurationName is the MutatingWebhookConfiguration for pods, and for the
	// creators of ModelVersions.
	PodsConfigurationName = "modelkiln-pods"
	// WorkloadsConfigurationName is the ValidatingWebhookConfiguration for
	// workloads.
	WorkloadsConfigurationName = "modelkiln-workloads"
)

// A Rotator creates the webhook's certificate, replaces it before it expires,
// serves it in every replica, and configures the API server to trust it.
//
// client-go creates the certificates. The libraries that also do the rest
// (cert-controller, Knative's) read all Secrets of the namespace and all webhook
// configurations of the cluster, which the operator has no permission for; and
// cert-controller serves from files, which the kubelet updates in the pod up to a
// minute late.
type Rotator struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Namespace is the operator's namespace.
	Namespace string
	// Host is the name or address by which the API server calls the webhook.
	Host string
	// Clock returns the time of the API server, which verifies the certificate: the
	// clocks of the replicas' machines may be wrong, and differ.
	Clock func(context.Context) (time.Time, error)
	// Propagation is how long a certificate is trusted before it is served instead of
	// the previous one: the API servers notice changes of the configurations after a
	// moment.
	Propagation time.Duration

	serving atomic.Pointer[certificate]
	// trusted is the certificate that is about to be served, and trustedSince when
	// this replica first found it trusted.
	trusted      *certificate
	trustedSince time.Time
}

// The manifests install the Secret and the configurations, empty: a permission to
// create objects cannot be limited to a name.
//
// +kubebuilder:rbac:groups="",resources=secrets,resourceNames=modelkiln-webhook,namespace=modelkiln-system,verbs=list;watch;update
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations,resourceNames=modelkiln-pods,verbs=list;watch;update
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingwebhookconfigurations,resourceNames=modelkiln-workloads,verbs=list;watch;update

// CacheObjects limits the cache to the three objects that a Rotator reads, and the
// requests for them to what the operator has permissions for.
func CacheObjects(namespace string) map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.Secret{}: {Namespaces: map[string]cache.Config{namespace: {FieldSelector: nameIs(SecretName)}}},
		&admissionregistrationv1.MutatingWebhookConfiguration{}:   {Field: nameIs(PodsConfigurationName)},
		&admissionregistrationv1.ValidatingWebhookConfiguration{}: {Field: nameIs(WorkloadsConfigurationName)},
	}
}

func nameIs(name string) fields.Selector {
	return fields.OneTermEqualSelector(metav1.ObjectNameField, name)
}

// Reconcile ensures that the Secret holds a valid certificate, that the API server
// trusts it, and that this replica serves it. In this order: a certificate that
// is served is trusted.
func (r *Rotator) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	now, err := r.Clock(ctx)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("get the API server's time: %w", err)
	}
	current, err := r.ensureCertificate(ctx, now)
	if err != nil {
		return ctrl.Result{}, ignoreConflict(err)
	}
	if err := r.ensureTrust(ctx, current.bundle()); err != nil {
		return ctrl.Result{}, ignoreConflict(err)
	}
	if wait := r.untilServed(current, now); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	r.serving.Store(current)
	return ctrl.Result{RequeueAfter: current.renewal.Sub(now)}, nil
}

// untilServed returns how long the certificate that is served now has to be served
// before the current one, which is trusted.
func (r *Rotator) untilServed(current *certificate, now time.Time) time.Duration {
	serving := r.serving.Load()
	if serving == nil || !serving.canPrecede(current, now) {
		return 0
	}
	if r.trusted == nil || !bytes.Equal(r.trusted.ca, current.ca) {
		r.trusted, r.trustedSince = current, now
	}
	return r.Propagation - now.Sub(r.trustedSince)
}

// ensureCertificate returns the certificate in the Secret, after replacing it if
// necessary.
func (r *Rotator) ensureCertificate(ctx context.Context, now time.Time) (*certificate, error) {
	secret := &corev1.Secret{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: SecretName}, secret); err != nil {
		return nil, fmt.Errorf("get Secret %q, which deploy/webhook installs: %w", SecretName, err)
	}
	current, invalid := readCertificate(secret.Data, r.Host, now)
	if invalid == nil {
		return current, nil
	}
	data, err := newCertificate(r.Host)
	if err != nil {
		return nil, err
	}
	data[previousCAKey] = r.previousCA(secret)
	created, err := readCertificate(data, r.Host, now)
	if err != nil {
		return nil, fmt.Errorf("create a certificate for %s: %w; set the clock of the operator's node, which differs from that of the API server by %s", r.Host, err, time.Since(now).Abs().Round(time.Minute))
	}
	secret.Data = data
	if err := r.Client.Update(ctx, secret); err != nil {
		return nil, fmt.Errorf("update Secret %q: %w", SecretName, err)
	}
	ctrl.LoggerFrom(ctx).Info("Created a certificate for the webhook", "host", r.Host, "reason", invalid.Error())
	return created, nil
}

// previousCA returns the CA of the certificate that replicas serve when the one in
// the Secret is replaced: the one in the Secret or, if that was deleted, the one that
// this replica serves.
func (r *Rotator) previousCA(secret *corev1.Secret) []byte {
	if ca := readCA(secret.Data[corev1.TLSCertKey]); ca != nil {
		return ca
	}
	if serving := r.serving.Load(); serving != nil {
		return serving.ca
	}
	return nil
}

// ensureTrust configures the API server to trust certificates that these CAs have
// signed. A configuration that does not exist was removed deliberately: the API
// server does not call that webhook.
func (r *Rotator) ensureTrust(ctx context.Context, bundle []byte) error {
	for _, configuration := range []client.Object{
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: PodsConfigurationName}},
		&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: WorkloadsConfigurationName}},
	} {
		name := configuration.GetName()
		err := r.Client.Get(ctx, client.ObjectKey{Name: name}, configuration)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("get webhook configuration %q: %w", name, err)
		}
		before := configuration.DeepCopyObject()
		setCABundle(configuration, bundle)
		if equality.Semantic.DeepEqual(before, configuration) {
			continue
		}
		if err := r.Client.Update(ctx, configuration); err != nil {
			return fmt.Errorf("update webhook configuration %q: %w", name, err)
		}
	}
	return nil
}

// setCABundle sets the CAs of all webhooks in a configuration.
func setCABundle(configuration client.Object, bundle []byte) {
	switch c := configuration.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for i := range c.Webhooks {
			c.Webhooks[i].ClientConfig.CABundle = bundle
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for i := range c.Webhooks {
			c.Webhooks[i].ClientConfig.CABundle = bundle
		}
	}
}

// ignoreConflict returns nil for a conflict: another replica wrote first, and the
// watch on what it wrote causes the next pass.
func ignoreConflict(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// Get returns the certificate to serve.
func (r *Rotator) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if serving := r.serving.Load(); serving != nil {
		return &serving.pair, nil
	}
	return nil, errors.New("the webhook has no certificate yet")
}

// Ready returns an error while there is no certificate to serve. It is a check of
// the readiness probe.
func (r *Rotator) Ready(*http.Request) error {
	_, err := r.Get(nil)
	return err
}

// SetupWithManager registers the reconciler, which runs in every replica: each of
// them serves the webhook.
func (r *Rotator) SetupWithManager(mgr ctrl.Manager) error {
	toSecret := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: r.Namespace, Name: SecretName}}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("webhook-certificates").
		Watches(&corev1.Secret{}, toSecret).
		Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, toSecret).
		Watches(&admissionregistrationv1.ValidatingWebhookConfiguration{}, toSecret).
		WithOptions(controller.Options{NeedLeaderElection: ptr.To(false)}).
		Complete(r)
}
