package translate

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// labelInstanceID says to Argo which of its controllers a Workflow is for.
const labelInstanceID = "workflows.argoproj.io/controller-instanceid"

// Annotations that the Argo UI shows on a Workflow.
const (
	annotationTitle       = "workflows.argoproj.io/title"
	annotationDescription = "workflows.argoproj.io/description"
)

// Attempt numbers a build.
type Attempt struct {
	// Number counts the version's attempts, from 1.
	Number int64
	// Collision counts the automatic tags that were found taken.
	Collision int
	// Previous is the latest version of the Model, which may have many of the
	// files already; nil when there is none.
	Previous *v1alpha1.LatestVersion
}

// Workflow is the Workflow that builds a version: a reference to a template
// and string arguments, and nothing else that Argo's Strict mode would refuse.
// A version that cannot be built gives a Problem instead.
func Workflow(mv *v1alpha1.ModelVersion, attempt Attempt, opts Options) (*wfv1.Workflow, *Problem) {
	args, problem := arguments(mv, attempt, opts)
	if problem != nil {
		return nil, problem
	}
	template := TemplateName(mv, opts)
	if template == "" {
		return nil, &Problem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf("The platform team has chosen no ClusterWorkflowTemplate for the engine %s in this namespace. To build with the other engine: kubectl edit mv -n %s %s, under spec.build.engine", engine(mv, opts), mv.Namespace, mv.Name)}
	}
	wf := &wfv1.Workflow{
		TypeMeta: metav1.TypeMeta{APIVersion: wfv1.SchemeGroupVersion.String(), Kind: "Workflow"},
		ObjectMeta: metav1.ObjectMeta{
			Name:      WorkflowName(mv.Name, mv.UID, attempt.Number),
			Namespace: mv.Namespace,
			Labels: map[string]string{
				v1alpha1.LabelModelName:       mv.Spec.ModelName,
				v1alpha1.LabelModelVersion:    labelValue(mv.Name),
				v1alpha1.LabelModelVersionUID: string(mv.UID),
				v1alpha1.LabelAttempt:         strconv.FormatInt(attempt.Number, 10),
			},
			Annotations: map[string]string{
				annotationTitle:               fmt.Sprintf("Build %s, version %s", mv.Spec.ModelName, mv.Name),
				annotationDescription:         fmt.Sprintf("Bakes the model into the image `%s`. More: `kubectl describe mv -n %s %s`", args[contract.ParamImage], mv.Namespace, mv.Name),
				v1alpha1.AnnotationGeneration: strconv.FormatInt(mv.Generation, 10),
				v1alpha1.AnnotationRebuild:    rebuild(mv.Annotations),
			},
			OwnerReferences: controlledBy(mv),
		},
		Spec: wfv1.WorkflowSpec{
			WorkflowTemplateRef:   &wfv1.WorkflowTemplateRef{Name: template, ClusterScope: true},
			ActiveDeadlineSeconds: ptr.To(deadlineSeconds(mv, opts)),
			Arguments:             wfv1.Arguments{Parameters: parameters(args)},
		},
	}
	if opts.ArgoInstanceID != "" {
		wf.Labels[labelInstanceID] = opts.ArgoInstanceID
	}
	return wf, nil
}

// controlledBy is the owner reference of what is a version's. The owner's
// deletion is not blocked: with OwnerReferencesPermissionEnforcement, whoever
// resubmits a Workflow would need rights on ModelVersion finalizers.
func controlledBy(mv *v1alpha1.ModelVersion) []metav1.OwnerReference {
	return []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(),
		Kind:       "ModelVersion",
		Name:       mv.Name,
		UID:        mv.UID,
		Controller: ptr.To(true),
	}}
}

// TemplateName is the ClusterWorkflowTemplate that builds a version.
func TemplateName(mv *v1alpha1.ModelVersion, opts Options) string {
	if b := mv.Spec.Build; b != nil && b.WorkflowTemplate != "" {
		return b.WorkflowTemplate
	}
	return platformTemplate(mv, opts)
}

// platformTemplate is the ClusterWorkflowTemplate that the platform team has
// chosen for the version's namespace and engine. Empty for an engine that it has
// chosen none for: who has builds scanned in a template of their own does not
// want them to go around it by another engine.
func platformTemplate(mv *v1alpha1.ModelVersion, opts Options) string {
	ofNamespace, has := opts.NamespaceTemplates[mv.Namespace]
	if engine(mv, opts) != v1alpha1.Stream {
		return cmp.Or(ofNamespace, opts.WorkflowTemplate)
	}
	if template := opts.NamespaceStreamTemplates[mv.Namespace]; template != "" || has {
		return template
	}
	return opts.StreamTemplate
}

// engine is the program that makes a version's image.
func engine(mv *v1alpha1.ModelVersion, opts Options) v1alpha1.BuildEngine {
	if b := mv.Spec.Build; b != nil && b.Engine != "" {
		return b.Engine
	}
	return cmp.Or(opts.Engine, v1alpha1.Kaniko)
}

func deadlineSeconds(mv *v1alpha1.ModelVersion, opts Options) int64 {
	if b := mv.Spec.Build; b != nil && b.DeadlineSeconds != nil {
		return *b.DeadlineSeconds
	}
	return opts.DeadlineSeconds
}

// arguments are the build's arguments by parameter name. Those that are empty
// are left out: the template has a default for each.
func arguments(mv *v1alpha1.ModelVersion, attempt Attempt, opts Options) (map[string]string, *Problem) {
	if problem := sourceOf(mv, opts).problem; problem != nil {
		return nil, problem
	}
	image, problem := imageOf(mv, attempt.Collision, opts)
	if problem != nil {
		return nil, problem
	}
	args := identityArguments(mv, opts)
	args[contract.ParamCreatedBy] = url.QueryEscape(mv.Spec.CreatedBy)
	args[contract.ParamImage] = image
	if p := attempt.Previous; p != nil && p.Digest != "" && engine(mv, opts) == v1alpha1.Stream {
		args[contract.ParamPreviousImage] = strings.TrimSuffix(p.ImageName, ":"+tagOf(p.ImageName)) + "@" + p.Digest
	}
	if problem := checkCompression(mv, opts); problem != nil {
		return nil, problem
	}
	if b := mv.Spec.Build; b != nil && engine(mv, opts) == v1alpha1.Stream {
		args[contract.ParamChangeDetection] = string(b.ChangeDetection)
	}
	args[contract.ParamPlainHTTPRegistries] = strings.Join(opts.PlainHTTPRegistries, ",")
	maps.Copy(args, buildArguments(ptr.Deref(mv.Spec.Build, v1alpha1.Build{}), opts))
	maps.DeleteFunc(args, func(_, value string) bool { return value == "" })

	for _, name := range slices.Sorted(maps.Keys(args)) {
		if strings.Contains(args[name], "{{") || strings.Contains(args[name], "}}") {
			return nil, &Problem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf("The value of %s holds a pair of braces, which Argo would expand. %s", name, mendSpec(mv))}
		}
	}
	return args, nil
}

// checkCompression says what is wrong when a version asks for a compression that
// its engine, which the platform may have chosen, does not have.
func checkCompression(mv *v1alpha1.ModelVersion, opts Options) *Problem {
	none := map[v1alpha1.BuildEngine]v1alpha1.Compression{v1alpha1.Kaniko: v1alpha1.NoCompression, v1alpha1.Stream: v1alpha1.Gzip}
	with := engine(mv, opts)
	if b := mv.Spec.Build; b == nil || b.Compression == "" || b.Compression != none[with] {
		return nil
	}
	return &Problem{v1alpha1.ReasonInvalidSpec, fmt.Sprintf("The engine %s cannot make layers with the compression %s: name another in spec.build.compression, or leave it out. %s", with, mv.Spec.Build.Compression, mendSpec(mv))}
}

// imageOf is the image reference that a version is pushed to.
func imageOf(mv *v1alpha1.ModelVersion, collision int, opts Options) (string, *Problem) {
	if mv.Spec.ImageRepo == "" {
		return "", &Problem{v1alpha1.ReasonInvalidSpec, "imageRepo is missing: create a new ModelVersion that names the repository to push to"}
	}
	tag := mv.Spec.ImageTag
	if tag == "" {
		automatic, found := automaticTag(mv.UID, collision)
		if !found {
			return "", &Problem{v1alpha1.ReasonTagTaken, "Every automatic tag of this version is taken: create a new ModelVersion with an imageTag"}
		}
		tag = automatic
	}
	return ImageReference(mv.Spec.ImageRepo, tag, opts.DefaultRegistry), nil
}

// buildArguments is how spec.build, over the operator's defaults, reads as
// arguments.
func buildArguments(b v1alpha1.Build, opts Options) map[string]string {
	requests, limits := resources(ptr.Deref(b.Resources, v1alpha1.BuildResources{}), opts)
	args := map[string]string{
		contract.ParamLayerSize:          quantity(opts.LayerSize),
		contract.ParamMaxLayers:          count(opts.MaxLayers),
		contract.ParamCompression:        string(b.Compression),
		contract.ParamBaseImage:          opts.BaseImage,
		contract.ParamPushSecret:         contract.DefaultPushSecret,
		contract.ParamPushSecretRequired: "false",
		contract.ParamRequests:           quantities(requests),
		contract.ParamLimits:             quantities(limits),
		contract.ParamNodeSelector:       nodeSelector(b.NodeSelector),
		contract.ParamTolerations:        tolerations(b.Tolerations),
	}
	if b.BaseImage != "" {
		args[contract.ParamBaseImage] = b.BaseImage
	}
	if b.PushSecretName != "" {
		args[contract.ParamPushSecret] = b.PushSecretName
		args[contract.ParamPushSecretRequired] = "true"
	}
	return args
}

// resources are the build container's requests and limits: the operator's, and
// over them the version's own. Where the version names only one of the two,
// the operator's other one gives way, since a pod whose request is above its
// limit is refused.
func resources(own v1alpha1.BuildResources, opts Options) (requests, limits map[corev1.ResourceName]resource.Quantity) {
	requests, limits = over(opts.Requests, own.Requests), over(opts.Limits, own.Limits)
	for name, limit := range limits {
		request, found := requests[name]
		if !found || request.Cmp(limit) <= 0 {
			continue
		}
		if _, named := own.Limits[name]; named {
			requests[name] = limit
		} else {
			limits[name] = request
		}
	}
	return requests, limits
}

func over(defaults, own map[corev1.ResourceName]resource.Quantity) map[corev1.ResourceName]resource.Quantity {
	all := map[corev1.ResourceName]resource.Quantity{}
	maps.Copy(all, defaults)
	maps.Copy(all, own)
	return all
}

// quantity writes a size, or nothing for zero.
func quantity(q resource.Quantity) string {
	if q.IsZero() {
		return ""
	}
	return q.String()
}

// count writes a number, or nothing for zero.
func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// quantities writes resources as cpu=500m,memory=256Mi.
func quantities(list map[corev1.ResourceName]resource.Quantity) string {
	all := map[string]string{}
	for name, quantity := range list {
		all[string(name)] = quantity.String()
	}
	return pairs(all)
}

func nodeSelector(selector map[string]v1alpha1.NodeLabelValue) string {
	all := map[string]string{}
	for key, value := range selector {
		all[key] = string(value)
	}
	return pairs(all)
}

func pairs(values map[string]string) string {
	var written []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		written = append(written, key+"="+values[key])
	}
	return strings.Join(written, ",")
}

// tolerations writes tolerations as kubectl taint writes taints.
func tolerations(list []v1alpha1.Toleration) string {
	var written []string
	for _, t := range list {
		text := t.Key
		if t.Operator != corev1.TolerationOpExists {
			text += "=" + t.Value
		}
		written = append(written, text+":"+string(t.Effect))
	}
	return strings.Join(written, ",")
}

// parameters are the arguments in the order of their names.
func parameters(args map[string]string) []wfv1.Parameter {
	var list []wfv1.Parameter
	for _, name := range slices.Sorted(maps.Keys(args)) {
		list = append(list, wfv1.Parameter{Name: name, Value: wfv1.AnyStringPtr(args[name])})
	}
	return list
}
