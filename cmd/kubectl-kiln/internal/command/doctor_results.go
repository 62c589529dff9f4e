package command

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilversion "k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apimachinery/pkg/version"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/registry"
)

// verdict is what a check has found.
type verdict string

const (
	good    verdict = "ok"
	warning verdict = "warn"
	bad     verdict = "FAIL"
	// unknown is the verdict where the user lacks a permission to look.
	unknown verdict = "-"
)

// result is one line of doctor, and what to do.
type result struct {
	verdict      verdict
	what, advice string
}

// notChecked is the result of a check that could not read what it needs.
func notChecked(what string, err error) result {
	if apierrors.IsForbidden(err) {
		return result{verdict: unknown, what: "not checked: " + what, advice: "you have no permission to read it; a cluster administrator can run this check"}
	}
	return result{verdict: unknown, what: "not checked: " + what, advice: quote(err)}
}

// The oldest releases that the documentation names.
var (
	firstKubernetes = utilversion.MustParseGeneric("1.31")
	firstArgo       = utilversion.MustParseGeneric("3.7")
)

func kubernetesResults(server version.Info) []result {
	what := "Kubernetes " + server.GitVersion
	running, err := utilversion.ParseGeneric(server.GitVersion)
	if err == nil && running.LessThan(firstKubernetes) {
		return []result{{bad, what, fmt.Sprintf("Modelkiln needs Kubernetes %s: upgrade the cluster", firstKubernetes)}}
	}
	if inject.ServingMountFor(server) != inject.ServingImageVolume {
		return []result{{verdict: good, what: what + ": served pods copy the model with an init container; image volumes need 1.35"}}
	}
	return []result{{verdict: good, what: what}}
}

func nodeResults(nodes []corev1.Node) []result {
	runtimes := map[string]int{}
	for _, node := range nodes {
		runtimes[node.Status.NodeInfo.ContainerRuntimeVersion]++
	}
	var parts []string
	for runtime, count := range runtimes {
		parts = append(parts, fmt.Sprintf("%s on %d of %d nodes", runtime, count, len(nodes)))
	}
	slices.Sort(parts)
	if len(parts) == 0 {
		return []result{{bad, "the cluster has no nodes", "builds wait for a node"}}
	}
	if lacks := inject.LacksImageVolumes(nodes, &corev1.Pod{}); lacks != "" {
		return []result{{warning, strings.Join(parts, ", "), lacks + "; served pods copy the model with an init container"}}
	}
	return []result{{verdict: good, what: strings.Join(parts, ", ") + ": mounts images as volumes"}}
}

func argoMissing() result {
	return result{bad, "Argo Workflows is not installed", "install it cluster-wide: https://github.com/argoproj/argo-workflows/releases"}
}

// argoController returns the container of Argo's controller in a Deployment, or nil.
func argoController(d *appsv1.Deployment) *corev1.Container {
	containers := d.Spec.Template.Spec.Containers
	for i := range containers {
		repository, _ := splitImage(containers[i].Image)
		if strings.HasSuffix(repository, "workflow-controller") {
			return &containers[i]
		}
	}
	return nil
}

// splitImage returns the repository and the tag of an image.
func splitImage(image string) (repository, tag string) {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		return image[:i], image[i+1:]
	}
	return image, ""
}

func argoResults(controllers []appsv1.Deployment) []result {
	if len(controllers) == 0 {
		return []result{{warning, "Argo's kinds are installed, and no Deployment with Argo's controller was found", "builds start when a controller runs: kubectl get deployments -A | grep workflow-controller"}}
	}
	var results []result
	for i := range controllers {
		results = append(results, argoResult(&controllers[i]))
	}
	return results
}

func argoResult(d *appsv1.Deployment) result {
	container := argoController(d)
	_, tag := splitImage(container.Image)
	what := fmt.Sprintf("Argo Workflows %s in namespace %s", cmp.Or(tag, container.Image), d.Namespace)
	running, err := utilversion.ParseGeneric(tag)
	args := append(slices.Clone(container.Command), container.Args...)
	switch {
	case err == nil && running.LessThan(firstArgo):
		return result{bad, what, fmt.Sprintf("Modelkiln needs Argo Workflows %s: upgrade it", firstArgo)}
	case d.Status.AvailableReplicas == 0:
		return result{bad, what + ": its controller is not available", fmt.Sprintf("kubectl describe deployment -n %s %s", d.Namespace, d.Name)}
	case slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--namespaced") }):
		return result{warning, what + " watches one namespace only (--namespaced)", "builds in other namespaces do not start, and its role needs ClusterWorkflowTemplates: see deploy/README.md"}
	case tag == "latest":
		return result{warning, what, "pin the version of Argo's images"}
	default:
		return result{verdict: good, what: what + ": watches all namespaces"}
	}
}

// argoMode returns the mode of Argo's controller: whether Workflows have to reference a
// template.
func argoMode(settings *corev1.ConfigMap) result {
	type restrictions struct{ TemplateReferencing string }
	var own restrictions
	var all struct{ WorkflowRestrictions restrictions }
	// With settings that it cannot read, Argo's controller does not run.
	_ = yaml.Unmarshal([]byte(settings.Data["workflowRestrictions"]), &own)
	_ = yaml.Unmarshal([]byte(settings.Data["config"]), &all)
	if mode := cmp.Or(own.TemplateReferencing, all.WorkflowRestrictions.TemplateReferencing); mode == "Secure" || mode == "Strict" {
		return result{verdict: good, what: "templateReferencing: " + mode}
	}
	return result{good, "templateReferencing is not set", "users can run other Workflows than those of templates; to forbid that, set templateReferencing: Strict"}
}

func kindsResult(missing []string) result {
	if len(missing) > 0 {
		return result{bad, "the cluster does not have the kinds " + strings.Join(missing, " and "), "install Modelkiln: deploy/README.md"}
	}
	return result{verdict: good, what: "Models and ModelVersions are installed"}
}

func permissionResult(allowed bool, namespace string) result {
	if !allowed {
		return result{warning, "you may not create ModelVersions in namespace " + namespace, "ask for a RoleBinding to the ClusterRole modelkiln-edit"}
	}
	return result{verdict: good, what: "you may create ModelVersions in namespace " + namespace}
}

func operatorResult(found []appsv1.Deployment) result {
	if len(found) == 0 {
		return result{bad, "the operator is not installed", "install Modelkiln: deploy/README.md"}
	}
	if len(found) > 1 {
		return result{bad, fmt.Sprintf("%d operators are installed, in the namespaces %s and %s", len(found), found[0].Namespace, found[1].Namespace), "they write the same objects: remove one"}
	}
	d := &found[0]
	image := d.Spec.Template.Spec.Containers[0].Image
	_, tag := splitImage(image)
	what := fmt.Sprintf("operator %s in namespace %s", cmp.Or(tag, image), d.Namespace)
	if d.Status.AvailableReplicas == 0 {
		return result{bad, what + " is not available", fmt.Sprintf("kubectl describe deployment -n %s %s", d.Namespace, d.Name)}
	}
	return result{verdict: good, what: what}
}

func templateResult(name string, template *unstructured.Unstructured, err error) result {
	switch {
	case isMissingKind(err):
		return result{verdict: unknown, what: "not checked: template " + name, advice: "Argo Workflows is not installed"}
	case apierrors.IsNotFound(err):
		return result{bad, "ClusterWorkflowTemplate " + name + " does not exist", "kubectl apply --server-side -k workflow-templates"}
	case err != nil:
		return notChecked("ClusterWorkflowTemplate "+name, err)
	}
	return result{verdict: good, what: fmt.Sprintf("template %s runs %s", name, stepImage(template))}
}

func webhookResult(created *v1alpha1.ModelVersion, err error) result {
	switch {
	case isMissingKind(err):
		return result{verdict: unknown, what: "not checked: the webhook", advice: "ModelVersions are not installed"}
	case err != nil:
		return notChecked("the webhook", err)
	case created.Annotations[v1alpha1.AnnotationCreatedByUser] == "":
		return result{bad, "the webhook does not answer", "pods that train or serve are rejected until it does: look at the operator's log, and at network policies between the API server and the operator"}
	}
	return result{verdict: good, what: "the webhook answers"}
}

// levelLabel is the label of a namespace with its level of the Pod Security Standards.
const levelLabel = "pod-security.kubernetes.io/enforce"

func levelResult(namespace *corev1.Namespace) result {
	level := cmp.Or(namespace.Labels[levelLabel], "privileged")
	what := fmt.Sprintf("namespace %s has the Pod Security level %s", namespace.Name, level)
	relabel := fmt.Sprintf("kubectl label namespace %s %s=", namespace.Name, levelLabel)
	switch level {
	case "restricted":
		return result{warning, what + ": only the engine Stream can run, with claims, S3 and Hugging Face", "set spec.build.engine: Stream; or allow more: " + relabel + "baseline --overwrite"}
	case "baseline":
		return result{good, what + ": localStorage cannot be built", "to build from the disks of nodes: " + relabel + "privileged --overwrite"}
	default:
		return result{verdict: good, what: what}
	}
}

func quotaResults(quotas []corev1.ResourceQuota, ranges []corev1.LimitRange) []result {
	var results []result
	for i := range quotas {
		results = append(results, quotaResult(&quotas[i], ranges))
	}
	if len(results) == 0 {
		return []result{{verdict: good, what: "no quota limits the namespace"}}
	}
	return results
}

// usedByBuilds are the resources of quotas that a build uses.
var usedByBuilds = []corev1.ResourceName{
	corev1.ResourcePods, "count/pods", "count/modelversions.model.kubedl.io", "count/workflows.argoproj.io",
	corev1.ResourceCPU, corev1.ResourceRequestsCPU, corev1.ResourceLimitsCPU,
	corev1.ResourceMemory, corev1.ResourceRequestsMemory, corev1.ResourceLimitsMemory,
	corev1.ResourceEphemeralStorage, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsEphemeralStorage,
}

// quotaResult compares a quota with what build pods have: requests of CPU and memory and
// a limit of memory in the steps, and nothing in Argo's own containers.
func quotaResult(quota *corev1.ResourceQuota, ranges []corev1.LimitRange) result {
	what := "ResourceQuota " + quota.Name
	for _, name := range usedByBuilds {
		hard, limited := quota.Status.Hard[name]
		if used := quota.Status.Used[name]; limited && used.Cmp(hard) >= 0 {
			return exhausted(quota, fmt.Sprintf("%s: %s is exhausted (%s of %s)", what, name, used.String(), hard.String()))
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceCPU, corev1.ResourceMemory} {
		if _, counts := quota.Spec.Hard[name]; counts && !hasDefault(ranges, name) {
			return result{warning, fmt.Sprintf("%s counts %s, and no LimitRange of the namespace has a default for it", what, name), "unless the operator's configuration sets it for all containers of builds, their pods are rejected: see Quotas in deploy/README.md"}
		}
	}
	return result{verdict: good, what: what + " leaves room for builds"}
}

// exhausted returns the result for a quota that leaves no room. One with scopes may not
// count the pods of builds.
func exhausted(quota *corev1.ResourceQuota, what string) result {
	if len(quota.Spec.Scopes) > 0 || quota.Spec.ScopeSelector != nil {
		return result{warning, what, fmt.Sprintf("if its scopes include the pods of builds, these wait until something else is deleted: kubectl describe resourcequota -n %s %s", quota.Namespace, quota.Name)}
	}
	return result{bad, what, "builds wait until something else is deleted"}
}

// hasDefault reports whether a LimitRange gives containers a value for what a quota
// counts.
func hasDefault(ranges []corev1.LimitRange, counted corev1.ResourceName) bool {
	resource := corev1.ResourceName(strings.TrimPrefix(strings.TrimPrefix(string(counted), "limits."), "requests."))
	for i := range ranges {
		for _, limit := range ranges[i].Spec.Limits {
			defaults := limit.DefaultRequest
			if strings.HasPrefix(string(counted), "limits.") {
				defaults = limit.Default
			}
			if _, found := defaults[resource]; found && limit.Type == corev1.LimitTypeContainer {
				return true
			}
		}
	}
	return false
}

// secretResult checks a push Secret, which is nil if it does not exist. Nothing of its
// content is in the result.
func secretResult(secret *corev1.Secret, namespace, name, target string) result {
	called := fmt.Sprintf("Secret %s/%s", namespace, name)
	create := fmt.Sprintf("kubectl create secret docker-registry %s -n %s --docker-server=HOST --docker-username=USER --docker-password=PASSWORD", name, namespace)
	if secret == nil {
		return result{warning, called + " does not exist: pushes are anonymous, or by the identity of the service account", create}
	}
	if secret.Type != corev1.SecretTypeDockerConfigJson {
		return result{bad, fmt.Sprintf("%s is of type %s", called, secret.Type), "delete it, then: " + create}
	}
	credentials, err := registry.ParseCredentials(secret.Data[corev1.DockerConfigJsonKey], called)
	if err != nil {
		return result{bad, quote(err), "delete it, then: " + create}
	}
	if target == "" {
		return result{verdict: good, what: called + " exists; to check whether it has an entry for a registry, add --registry"}
	}
	repository, err := credentialTarget(target)
	if err != nil {
		return result{verdict: bad, what: quote(err)}
	}
	if !credentials.Has(repository) {
		return result{bad, called + " has no entry for " + target, create}
	}
	return result{verdict: good, what: called + " has an entry for " + target}
}
