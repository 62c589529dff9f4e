package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// BuildPods are settings of the pods that build images.
type BuildPods struct {
	// labels are labels of build pods, for example kueue.x-k8s.io/queue-name: builds. At
	// most eight. They override the template's label sidecar.istio.io/inject: "false".
	Labels map[string]string `json:"labels,omitempty"`
	// annotations are annotations of build pods. At most eight. They override the
	// template's annotations sidecar.istio.io/inject: "false", linkerd.io/inject:
	// disabled, karpenter.sh/do-not-disrupt: "true" and
	// cluster-autoscaler.kubernetes.io/safe-to-evict: "false".
	Annotations map[string]string `json:"annotations,omitempty"`
	// env contains environment variables, names and values, of the containers that
	// access registries: mount-check, build with Kaniko, and status-report. It is meant
	// for HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and not for secrets: everyone who can
	// read Workflows can read it.
	Env map[string]string `json:"env,omitempty"`
	// imagePullSecrets lists the Secrets with which the images of build pods are pulled.
	// They must exist in the namespaces of the ModelVersions. Build pods then do not get
	// the imagePullSecrets of the service account modelkiln-build.
	ImagePullSecrets []string `json:"imagePullSecrets,omitempty"`
	// priorityClassName is the PriorityClass of build pods.
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// otherRequests are the resource requests of each container of a build pod except
	// build: mount-check, status-report, main, and Argo's own init and wait. What is not
	// set is left to the template and, for init and wait, to Argo's configuration.
	OtherRequests map[corev1.ResourceName]resource.Quantity `json:"otherRequests,omitempty"`
	// otherLimits are the resource limits of each of these containers. mount-check and
	// status-report need memory for the names of the model's files; the template allows
	// each 512Mi.
	OtherLimits map[corev1.ResourceName]resource.Quantity `json:"otherLimits,omitempty"`
	// serviceAccountAnnotations are annotations of the service account modelkiln-build in
	// every namespace, for example the role of a cloud provider:
	// eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/models. Other
	// annotations of the service account are kept.
	ServiceAccountAnnotations map[string]string `json:"serviceAccountAnnotations,omitempty"`
}

// options returns the part of the settings that affects Workflows.
func (p BuildPods) options() workflow.Pods {
	return workflow.Pods{
		Labels: p.Labels, Annotations: p.Annotations, Env: p.Env,
		ImagePullSecrets: p.ImagePullSecrets, PriorityClassName: p.PriorityClassName,
		Requests: p.OtherRequests, Limits: p.OtherLimits,
	}
}

func (p BuildPods) validate() error {
	return errors.Join(
		p.validateLabels(), p.validateAnnotations(), p.validateEnv(), p.validateNames(),
		p.validateResources(), p.validateServiceAccount(),
	)
}

func (p BuildPods) validateLabels() error {
	problems := []error{checkCount("buildPods.labels", p.Labels)}
	for _, key := range slices.Sorted(maps.Keys(p.Labels)) {
		problems = append(problems, checkKey("buildPods.labels", key))
		if value := p.Labels[key]; len(validation.IsValidLabelValue(value)) > 0 {
			problems = append(problems, fmt.Errorf("buildPods.labels: the value %q of %s is not the value of a label: use at most 63 letters, digits, '-', '_' and '.', and a letter or digit at both ends", value, key))
		}
	}
	return errors.Join(problems...)
}

func (p BuildPods) validateAnnotations() error {
	problems := []error{checkCount("buildPods.annotations", p.Annotations)}
	for _, key := range slices.Sorted(maps.Keys(p.Annotations)) {
		problems = append(problems, checkKey("buildPods.annotations", key), checkValue("buildPods.annotations", key, p.Annotations[key]))
	}
	return errors.Join(problems...)
}

// checkCount returns an error if the templates have no room for so many labels or
// annotations.
func checkCount(field string, values map[string]string) error {
	if len(values) > contract.MaxPodMetadata {
		return fmt.Errorf("%s has %d entries: set at most %d, and the others under podMetadata in the ClusterWorkflowTemplates", field, len(values), contract.MaxPodMetadata)
	}
	return nil
}

// checkKey returns an error if a key is malformed, or one on which Argo or the operator
// depends.
func checkKey(field, key string) error {
	switch {
	case len(validation.IsQualifiedName(key)) > 0:
		return fmt.Errorf("%s contains %q, which is not a key: use the form example.com/team or team", field, key)
	case contract.IsReservedMetadata(key):
		return fmt.Errorf("%s contains %s, which is reserved for Argo and Modelkiln: remove it", field, key)
	}
	return nil
}

// maxValue is the number of bytes of an annotation or a variable. They are arguments of
// every Workflow.
const maxValue = 4096

// checkValue returns an error if Argo would change a value, or if it is not one line.
func checkValue(field, name, value string) error {
	switch {
	case strings.Contains(value, "{{") || strings.Contains(value, "}}"):
		return fmt.Errorf(`%s: the value of %s contains "{{" or "}}", which Argo would expand: remove it`, field, name)
	case strings.ContainsFunc(value, unicode.IsControl):
		return fmt.Errorf("%s: the value of %s contains a line break or another control character: write it in one line", field, name)
	case len(value) > maxValue:
		return fmt.Errorf("%s: the value of %s has %d bytes: use at most %d", field, name, len(value), maxValue)
	}
	return nil
}

var (
	// variableName is what shells accept, and so every program.
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// reservedVariable matches variables that Argo, Kubernetes, the steps or Kaniko set or
	// depend on.
	reservedVariable = regexp.MustCompile(`^(ARGO|DOCKER|KANIKO|KUBERNETES|MODELKILN)_|^SSL_CERT_(DIR|FILE)$|^(HOME|HOSTNAME|KUBEDL_MODEL_PATH|PATH|REGISTRY_AUTH_FILE|TMPDIR|USER)$`)
	// secretVariable matches variables that usually hold a secret.
	secretVariable = regexp.MustCompile(`(?i)(PASSWORD|PASSWD|SECRET|TOKEN|ACCESS_KEY|API_?KEY)$`)
	// urlWithPassword matches URLs such as http://user:password@proxy:3128, whose scheme
	// may be omitted.
	urlWithPassword = regexp.MustCompile(`(^|//)[^/@]*:[^/@]*@`)
)

func (p BuildPods) validateEnv() error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		problems = append(problems, checkVariable(name, p.Env[name]), checkValue("buildPods.env", name, p.Env[name]))
	}
	return errors.Join(problems...)
}

func checkVariable(name, value string) error {
	switch {
	case !variableName.MatchString(name):
		return fmt.Errorf("buildPods.env contains %q, which is not the name of a variable: use letters, digits and '_', as in HTTPS_PROXY", name)
	case strings.HasPrefix(name, "SSL_CERT_"):
		return fmt.Errorf("buildPods.env contains %s, which Kaniko sets: write the certificates into caBundle of the registry under registries", name)
	case reservedVariable.MatchString(name):
		return fmt.Errorf("buildPods.env contains %s, which is reserved for Kubernetes, Argo and the steps of builds: remove it", name)
	case secretVariable.MatchString(name), urlWithPassword.MatchString(value):
		return fmt.Errorf("buildPods.env: %s contains a secret, which everyone who can read Workflows could read: put credentials of registries into the push Secret, and use a proxy without a password", name)
	}
	return nil
}

func (p BuildPods) validateNames() error {
	var problems []error
	for _, name := range p.ImagePullSecrets {
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			problems = append(problems, fmt.Errorf("buildPods.imagePullSecrets contains %q, which is not the name of a Secret", name))
		}
	}
	if name := p.PriorityClassName; name != "" && len(validation.IsDNS1123Subdomain(name)) > 0 {
		problems = append(problems, fmt.Errorf("buildPods.priorityClassName %q is not the name of a PriorityClass", name))
	}
	return errors.Join(problems...)
}

// templateRequests are the highest requests of the templates' containers except build.
// A limit below them needs a request too: the API server rejects a container whose
// request is above its limit.
var templateRequests = map[corev1.ResourceName]resource.Quantity{
	corev1.ResourceCPU:    resource.MustParse("100m"),
	corev1.ResourceMemory: resource.MustParse("64Mi"),
}

func (p BuildPods) validateResources() error {
	problems := []error{
		checkQuantities("buildPods.otherRequests", p.OtherRequests),
		checkQuantities("buildPods.otherLimits", p.OtherLimits),
		checkRequests("buildPods.otherRequests", p.OtherRequests, "buildPods.otherLimits", p.OtherLimits),
	}
	for _, name := range slices.Sorted(maps.Keys(p.OtherLimits)) {
		limit := p.OtherLimits[name]
		request, found := templateRequests[name]
		if _, set := p.OtherRequests[name]; found && !set && request.Cmp(limit) > 0 {
			problems = append(problems, fmt.Errorf("buildPods.otherLimits.%s %s is below the template's request of %s: set buildPods.otherRequests.%s too", name, limit.String(), request.String(), name))
		}
	}
	return errors.Join(problems...)
}

// checkQuantities returns an error for resources that a container cannot have.
func checkQuantities(field string, list map[corev1.ResourceName]resource.Quantity) error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(list)) {
		quantity := list[name]
		switch {
		case len(validation.IsQualifiedName(string(name))) > 0:
			problems = append(problems, fmt.Errorf("%s contains %q, which is not a resource: use cpu, memory or ephemeral-storage", field, name))
		case quantity.Sign() < 0:
			problems = append(problems, fmt.Errorf("%s.%s %s is negative", field, name, quantity.String()))
		}
	}
	return errors.Join(problems...)
}

// checkRequests returns an error for every request that is above its limit.
func checkRequests(field string, requests map[corev1.ResourceName]resource.Quantity, limitField string, limits map[corev1.ResourceName]resource.Quantity) error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		request := requests[name]
		if limit, found := limits[name]; found && request.Cmp(limit) > 0 {
			problems = append(problems, fmt.Errorf("%s.%s %s is above %s.%s %s: lower the request or raise the limit", field, name, request.String(), limitField, name, limit.String()))
		}
	}
	return errors.Join(problems...)
}

func (p BuildPods) validateServiceAccount() error {
	var problems []error
	for _, key := range slices.Sorted(maps.Keys(p.ServiceAccountAnnotations)) {
		problems = append(problems,
			checkKey("buildPods.serviceAccountAnnotations", key),
			checkValue("buildPods.serviceAccountAnnotations", key, p.ServiceAccountAnnotations[key]))
	}
	return errors.Join(problems...)
}
