package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// examination is what doctor looks at, and for whom.
type examination struct {
	*cluster
	registry   string
	pushSecret string
}

func (k *kiln) doctor() *cobra.Command {
	var pre bool
	var registry, secret string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether the cluster and the namespace can build and serve models",
		Long: `Check whether the cluster and the namespace can build and serve models.

With --pre, check what an installation of Modelkiln needs. What you may not read is not
checked. The exit code is 1 if something does not work.`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.BoolVar(&pre, "pre", false, "check only what Modelkiln needs before it is installed")
	flags.StringVar(&registry, "registry", "", "the registry or repository for which the push Secret must have credentials, for example registry.example.com/models")
	flags.StringVar(&secret, "push-secret", "regcred", "the push Secret of the namespace")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := k.connect()
		if err != nil {
			return err
		}
		e := &examination{cluster: c, registry: registry, pushSecret: secret}
		failed := 0
		for _, check := range e.checks(pre) {
			results, err := check(cmd.Context())
			if err != nil {
				return err
			}
			failed += printResults(k.Out, results)
		}
		if failed > 0 {
			return fmt.Errorf("%d of the checks failed", failed)
		}
		return nil
	}
	return cmd
}

// printResults prints the results of a check, and returns how many of them are failures.
func printResults(to io.Writer, results []result) int {
	failed := 0
	for _, r := range results {
		fmt.Fprintf(to, "%-4s  %s\n", r.verdict, r.what)
		if r.advice != "" {
			fmt.Fprintf(to, "      %s\n", r.advice)
		}
		if r.verdict == bad {
			failed++
		}
	}
	return failed
}

// checks returns the checks, in the order of what depends on what. Their errors are about
// the cluster as a whole.
func (e *examination) checks(pre bool) []func(context.Context) ([]result, error) {
	all := []func(context.Context) ([]result, error){e.kubernetes, e.nodes, e.argo}
	if !pre {
		all = append(all, e.kinds, e.operator, e.templates, e.webhook)
	}
	return append(all, e.namespaceLevel, e.quotas, e.secret)
}

// kubernetes fails for a cluster that cannot be reached: nothing else can be checked.
func (e *examination) kubernetes(context.Context) ([]result, error) {
	clients, err := e.typed()
	if err != nil {
		return nil, err
	}
	server, err := clients.Discovery().ServerVersion()
	if err != nil {
		return nil, e.explain(err, "Namespace", e.namespace)
	}
	return kubernetesResults(*server), nil
}

func (e *examination) nodes(ctx context.Context) ([]result, error) {
	list := &corev1.NodeList{}
	if err := e.List(ctx, list); err != nil {
		return []result{notChecked("container runtimes of the nodes", err)}, nil
	}
	return nodeResults(list.Items), nil
}

func (e *examination) argo(ctx context.Context) ([]result, error) {
	if missing, err := e.missingKinds(workflowKind.GroupVersion().String(), "Workflow", "ClusterWorkflowTemplate"); err != nil {
		return nil, err
	} else if len(missing) > 0 {
		return []result{argoMissing()}, nil
	}
	controllers, err := e.deployments(ctx, func(d *appsv1.Deployment) bool { return argoController(d) != nil })
	if err != nil {
		return []result{{verdict: good, what: "Argo Workflows is installed"}, notChecked("the version and the mode of Argo's controller", err)}, nil
	}
	results := argoResults(controllers)
	if len(controllers) == 1 {
		settings := &corev1.ConfigMap{}
		switch err := e.Get(ctx, client.ObjectKey{Namespace: controllers[0].Namespace, Name: "workflow-controller-configmap"}, settings); {
		case err == nil, apierrors.IsNotFound(err):
			results = append(results, argoMode(settings))
		default:
			results = append(results, notChecked("templateReferencing of Argo", err))
		}
	}
	return results, nil
}

// kinds checks that the CRDs are installed, and that the user may use them.
func (e *examination) kinds(ctx context.Context) ([]result, error) {
	missing, err := e.missingKinds(v1alpha1.GroupVersion.String(), "Model", "ModelVersion")
	if err != nil {
		return nil, err
	}
	results := []result{kindsResult(missing)}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: e.namespace, Verb: "create", Group: v1alpha1.GroupVersion.Group, Resource: "modelversions",
	}}}
	if err := e.Create(ctx, review); err != nil {
		return append(results, notChecked("your permissions", err)), nil
	}
	return append(results, permissionResult(review.Status.Allowed, e.namespace)), nil
}

// missingKinds returns which of the kinds of a group and version the cluster does not
// serve.
func (e *examination) missingKinds(groupVersion string, kinds ...string) ([]string, error) {
	clients, err := e.typed()
	if err != nil {
		return nil, err
	}
	list, err := clients.Discovery().ServerResourcesForGroupVersion(groupVersion)
	if apierrors.IsNotFound(err) || discovery.IsGroupDiscoveryFailedError(err) {
		return kinds, nil
	}
	if err != nil {
		return nil, e.explain(err, "APIResource", "")
	}
	served := map[string]bool{}
	for _, resource := range list.APIResources {
		served[resource.Kind] = true
	}
	var missing []string
	for _, kind := range kinds {
		if !served[kind] {
			missing = append(missing, kind)
		}
	}
	return missing, nil
}

// deployments returns the Deployments of all namespaces that match.
func (e *examination) deployments(ctx context.Context, matches func(*appsv1.Deployment) bool, opts ...client.ListOption) ([]appsv1.Deployment, error) {
	list := &appsv1.DeploymentList{}
	if err := e.List(ctx, list, opts...); err != nil {
		return nil, err
	}
	var found []appsv1.Deployment
	for i := range list.Items {
		if matches(&list.Items[i]) {
			found = append(found, list.Items[i])
		}
	}
	return found, nil
}

func (e *examination) operator(ctx context.Context) ([]result, error) {
	labels := client.MatchingLabels{"app.kubernetes.io/name": "modelkiln", "app.kubernetes.io/component": "controller"}
	found, err := e.deployments(ctx, func(*appsv1.Deployment) bool { return true }, labels)
	if err != nil {
		return []result{notChecked("the operator", err)}, nil
	}
	return []result{operatorResult(found)}, nil
}

func (e *examination) templates(ctx context.Context) ([]result, error) {
	var results []result
	for _, name := range templateNames {
		template, err := e.template(ctx, name)
		results = append(results, templateResult(name, template, err))
	}
	return results, nil
}

// webhook checks that the webhook answers: it records who creates a ModelVersion. The
// dry run stores nothing.
func (e *examination) webhook(ctx context.Context) ([]result, error) {
	mv := &v1alpha1.ModelVersion{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "kiln-doctor-", Namespace: e.namespace},
		Spec: v1alpha1.ModelVersionSpec{
			ModelName: "kiln-doctor", ImageRepo: "kiln-doctor",
			Storage: v1alpha1.Storage{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaim{ClaimName: "kiln-doctor"}},
		},
	}
	err := e.Create(ctx, mv, client.DryRunAll)
	return []result{webhookResult(mv, err)}, nil
}

func (e *examination) namespaceLevel(ctx context.Context) ([]result, error) {
	namespace := &corev1.Namespace{}
	if err := e.Get(ctx, client.ObjectKey{Name: e.namespace}, namespace); err != nil {
		if apierrors.IsNotFound(err) {
			return []result{{verdict: bad, what: fmt.Sprintf("namespace %s does not exist", e.namespace), advice: "kubectl create namespace " + e.namespace}}, nil
		}
		return []result{notChecked("the Pod Security level of namespace "+e.namespace, err)}, nil
	}
	return []result{levelResult(namespace)}, nil
}

func (e *examination) quotas(ctx context.Context) ([]result, error) {
	quotas, ranges := &corev1.ResourceQuotaList{}, &corev1.LimitRangeList{}
	if err := e.List(ctx, quotas, client.InNamespace(e.namespace)); err != nil {
		return []result{notChecked("the quotas of namespace "+e.namespace, err)}, nil
	}
	if err := e.List(ctx, ranges, client.InNamespace(e.namespace)); err != nil {
		return []result{notChecked("the LimitRanges of namespace "+e.namespace, err)}, nil
	}
	return quotaResults(quotas.Items, ranges.Items), nil
}

func (e *examination) secret(ctx context.Context) ([]result, error) {
	secret := &corev1.Secret{}
	err := e.Get(ctx, client.ObjectKey{Namespace: e.namespace, Name: e.pushSecret}, secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return []result{notChecked("Secret "+e.namespace+"/"+e.pushSecret, err)}, nil
	}
	if err != nil {
		secret = nil
	}
	return []result{secretResult(secret, e.namespace, e.pushSecret, e.registry)}, nil
}
