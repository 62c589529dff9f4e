// Package installation checks an installation of Modelkiln as a user of it: through the
// API server. The test of the Helm chart runs it.
package installation

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// alias is that of a Model that is never stored.
const alias = "installation-check"

// timeout is that of each request: longer than that of every webhook.
const timeout = 20 * time.Second

// Check returns an error if the API server does not serve ModelVersions and Models in a
// namespace, and, with webhooks, if it does not call the operator's webhooks through their
// Service, or does not trust their certificate. Nothing is stored. The error says what to
// do. The client needs permission to list ModelVersions and to create Models.
func Check(ctx context.Context, rc *rest.Config, namespace string, webhooks bool) error {
	rc = rest.CopyConfig(rc)
	rc.Timeout = timeout
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	c, err := client.New(rc, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	return check(ctx, c, namespace, webhooks)
}

func check(ctx context.Context, c client.Client, namespace string, webhooks bool) error {
	err := c.List(ctx, &v1alpha1.ModelVersionList{}, client.InNamespace(namespace), client.Limit(1))
	if err != nil {
		return explain("list ModelVersions", namespace, err)
	}
	// Of all requests, the API server allows this one only if a webhook answers, and shows
	// that it did. No policy of the platform team restricts it.
	model := &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: alias + "-"},
		Spec:       v1alpha1.ModelSpec{Aliases: []v1alpha1.Alias{{Name: alias, Version: alias}}},
	}
	if err := c.Create(ctx, model, client.DryRunAll); err != nil {
		return explain("create a Model with a dry run", namespace, err)
	}
	if webhooks && model.Annotations[v1alpha1.AnnotationPromotedBy+alias] == "" {
		return errors.New("the API server does not call the webhook promoter.model.kubedl.io for namespace " + namespace + ": the MutatingWebhookConfiguration modelkiln-pods does not exist, or does not select the namespace. Install it again: see Install in deploy/README.md")
	}
	return nil
}

// explain adds what to do to an error of the API server.
func explain(what, namespace string, err error) error {
	err = fmt.Errorf("%s in namespace %s: %w", what, namespace, err)
	switch {
	case meta.IsNoMatchError(err):
		return fmt.Errorf("%w. The CRDs are not installed: see Install in deploy/README.md", err)
	case apierrors.IsInternalError(err):
		return fmt.Errorf("%w. The API server must reach port 9443 of the operator, which a NetworkPolicy or a firewall can prevent. To see whether the operator runs, in its namespace: kubectl get pods,endpointslices", err)
	default:
		return err
	}
}
