package workflow

import (
	"fmt"
	"maps"
	"regexp"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// A Promotion moves the registry tag of an alias to the image of a ModelVersion.
type Promotion struct {
	// Model has the alias.
	Model *v1alpha1.Model
	// Alias is the name of the alias, and the tag.
	Alias string
	// Version is the ModelVersion.
	Version *v1alpha1.ModelVersion
	// Since is when the alias got the ModelVersion.
	Since metav1.Time
	// UserAssigned is true if the namespace assigns users to containers.
	UserAssigned bool
}

// Image returns the reference, as the step knows it, of the tag: that of the alias in the
// repository of the ModelVersion.
func (p Promotion) Image() string {
	return withTag(PushedImage(p.Version), p.Alias)
}

// PromotedImage returns the reference by which pods pull the image of a ModelVersion with
// the tag of an alias.
func PromotedImage(mv *v1alpha1.ModelVersion, alias string) string {
	return withTag(mv.Status.Image, alias)
}

func withTag(image, tag string) string {
	return strings.TrimSuffix(image, tagOf(image)) + tag
}

// Name returns the name of the Workflow: <model>-<alias>-<uid5>-<since>, with the UID of
// the Model and the time in seconds. It has the form of the names of builds, by which
// policies recognize whose pods may report results.
func (p Promotion) Name() string {
	suffix := fmt.Sprintf("-%s-%d", uidPrefix(p.Model.UID, 5), p.Since.Unix())
	return withSuffix(p.Model.Name+"-"+p.Alias, suffix, maxNameLength)
}

// IsOfPromotion reports whether a Workflow is the one of a promotion, or a resubmit of it,
// by their names. Argo adds a hyphen and five characters to the name of a resubmit.
func IsOfPromotion(workflow, promotion string) bool {
	suffix, found := strings.CutPrefix(workflow, promotion)
	return found && resubmitSuffix.MatchString(suffix)
}

var resubmitSuffix = regexp.MustCompile(`^(-[a-z0-9]{5})*$`)

// Arguments returns the arguments of the Workflow by parameter name. Empty ones are
// omitted, because the template has a default for each.
func (p Promotion) Arguments(opts Options) map[string]string {
	build := buildArguments(ptr.Deref(p.Version.Spec.Build, v1alpha1.Build{}), opts)
	args := map[string]string{
		contract.ParamImage:               p.Image(),
		contract.ParamDigest:              p.Version.Status.Digest,
		contract.ParamModel:               p.Model.Name,
		contract.ParamPushSecret:          build[contract.ParamPushSecret],
		contract.ParamPushSecretRequired:  build[contract.ParamPushSecretRequired],
		contract.ParamPlainHTTPRegistries: strings.Join(opts.PlainHTTPRegistries, ","),
	}
	pods := opts.Pods.arguments()
	for _, name := range []string{
		contract.ParamEnv, contract.ParamImagePullSecrets, contract.ParamPriorityClassName,
		contract.ParamOtherRequests, contract.ParamOtherLimits,
	} {
		args[name] = pods[name]
	}
	if p.UserAssigned {
		args[contract.ParamAssignedUser] = "true"
	}
	maps.DeleteFunc(args, func(_, value string) bool { return value == "" })
	return args
}

// NewPromotion returns the Workflow that moves the tag: a reference to the
// ClusterWorkflowTemplate and string arguments. A tag that may not be moved yields a
// Problem instead.
func NewPromotion(p Promotion, opts Options) (*wfv1.Workflow, *Problem) {
	if problem := checkRepo(p.Version, opts); problem != nil {
		return nil, problem
	}
	wf := &wfv1.Workflow{
		TypeMeta: metav1.TypeMeta{APIVersion: wfv1.SchemeGroupVersion.String(), Kind: "Workflow"},
		ObjectMeta: metav1.ObjectMeta{
			Name:      p.Name(),
			Namespace: p.Model.Namespace,
			Labels: map[string]string{
				v1alpha1.LabelModelName:       p.Model.Name,
				v1alpha1.LabelModelVersion:    labelValue(p.Version.Name),
				v1alpha1.LabelModelVersionUID: string(p.Version.UID),
				v1alpha1.LabelAlias:           p.Alias,
			},
			Annotations: map[string]string{
				annotationTitle:       fmt.Sprintf("Promote %s, version %s, to %s", p.Model.Name, p.Version.Name, p.Alias),
				annotationDescription: fmt.Sprintf("Moves the tag `%s`. Details: `kubectl describe mo -n %s %s`", p.Image(), p.Model.Namespace, p.Model.Name),
			},
			OwnerReferences: controllerReference("Model", p.Model),
		},
		Spec: wfv1.WorkflowSpec{
			WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: contract.PromoteTemplate, ClusterScope: true},
			Arguments:           wfv1.Arguments{Parameters: parameters(p.Arguments(opts))},
		},
	}
	if opts.ArgoInstanceID != "" {
		wf.Labels[labelInstanceID] = opts.ArgoInstanceID
	}
	return wf, nil
}
