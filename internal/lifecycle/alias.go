package lifecycle

import (
	"fmt"
	"slices"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

// maxAliasHistory is how many ModelVersions before the present one the status of an
// alias lists.
const maxAliasHistory = 20

// ObservedAliases is what the aliases of a Model depend on.
type ObservedAliases struct {
	// Model has the aliases as users want them, and as they are in effect.
	Model *v1alpha1.Model
	// Versions are the ModelVersions that spec names, by their names. One that does not
	// exist is missing.
	Versions map[string]*v1alpha1.ModelVersion
	// Pods counts the pods of each alias by the digest of the image that they serve.
	Pods map[string]map[string]int32
	// Tags is, by alias, what the registry tags depend on.
	Tags map[string]ObservedTag
	// ArgoMissing is true if the cluster does not have Argo's kinds, and TemplateMissing
	// if it does not have the ClusterWorkflowTemplate that moves tags.
	ArgoMissing, TemplateMissing bool
	// UserAssigned is true if the namespace assigns users to containers.
	UserAssigned bool
	// Now is the current time, in the precision of the API server.
	Now metav1.Time
}

// AliasStep is what to do about the aliases of a Model.
type AliasStep struct {
	// Status is the status of each alias, in the order of spec.
	Status []v1alpha1.AliasStatus
	// Create are the Workflows to create, by alias.
	Create map[string]*wfv1.Workflow
}

// NextAliases returns what to do about a Model's aliases. An alias whose ModelVersion
// cannot be resolved keeps the one that it had, and its tag, so that a mistake in spec
// changes nothing in production.
func NextAliases(o ObservedAliases, opts workflow.Options) AliasStep {
	step := AliasStep{Create: map[string]*wfv1.Workflow{}}
	for _, alias := range o.Model.Spec.Aliases {
		next, wf := nextAlias(o, alias, opts)
		step.Status = append(step.Status, next)
		if wf != nil {
			step.Create[alias.Name] = wf
		}
	}
	return step
}

func nextAlias(o ObservedAliases, alias v1alpha1.Alias, opts workflow.Options) (v1alpha1.AliasStatus, *wfv1.Workflow) {
	next := *AliasOf(o.Model, alias.Name).DeepCopy()
	next.Name, next.Reason, next.Message = alias.Name, "", ""
	var wf *wfv1.Workflow
	mv, problem := resolveAlias(o, alias)
	if problem != "" {
		next.Reason, next.Message = v1alpha1.ReasonAliasUnresolved, problem+keeps(next)
	} else {
		if next.Version != mv.Name || next.Digest != mv.Status.Digest || next.Since == nil {
			next = promoted(next, mv, PromotedBy(o.Model, alias.Name), o.Now)
		}
		next.Image, next.VersionUID = mv.Status.Image, string(mv.UID)
		wf = withTag(o, alias, mv, &next, opts)
	}
	if next.Version != "" {
		next.Pods = countPods(o.Pods[alias.Name], next.Digest)
	}
	return next, wf
}

// AliasOf returns the status of an alias of a Model. It is empty for an alias that is
// not in the status.
func AliasOf(model *v1alpha1.Model, name string) *v1alpha1.AliasStatus {
	i := slices.IndexFunc(model.Status.Aliases, func(a v1alpha1.AliasStatus) bool { return a.Name == name })
	if i < 0 {
		return &v1alpha1.AliasStatus{}
	}
	return &model.Status.Aliases[i]
}

// PromotedBy returns the name of the user who set the version of an alias, as the webhook
// recorded it, printable and short enough for a status.
func PromotedBy(model *v1alpha1.Model, alias string) string {
	return text.OneLine(model.Annotations[v1alpha1.AnnotationPromotedBy+alias], maxUser)
}

// resolveAlias returns the ModelVersion that spec names, or why the alias cannot get it.
func resolveAlias(o ObservedAliases, alias v1alpha1.Alias) (mv *v1alpha1.ModelVersion, problem string) {
	namespace, name := o.Model.Namespace, alias.Version
	mv, found := o.Versions[name]
	switch {
	case !found:
		return nil, fmt.Sprintf("ModelVersion %s does not exist. To list those of the Model: kubectl get mv -n %s -l %s=%s", name, namespace, v1alpha1.LabelModelName, o.Model.Name)
	case mv.Spec.ModelName != o.Model.Name:
		return nil, fmt.Sprintf("ModelVersion %s belongs to Model %s. To list those of this Model: kubectl get mv -n %s -l %s=%s", name, mv.Spec.ModelName, namespace, v1alpha1.LabelModelName, o.Model.Name)
	case !mv.DeletionTimestamp.IsZero():
		return nil, fmt.Sprintf("ModelVersion %s is being deleted. Promote another one: kubectl edit mo -n %s %s", name, namespace, o.Model.Name)
	case mv.Status.ImageBuildPhase == v1alpha1.ImageBuildSucceeded && mv.Status.Digest == "":
		return nil, fmt.Sprintf("KubeDL built ModelVersion %s and did not record the digest of its image. Create a new ModelVersion", name)
	case mv.Status.ImageBuildPhase != v1alpha1.ImageBuildSucceeded:
		return nil, fmt.Sprintf("ModelVersion %s is not Ready (%s). To see why: kubectl describe mv -n %s %s", name, reasonOrNone(mv), namespace, name)
	case isReplaced(AliasOf(o.Model, alias.Name), mv):
		return nil, fmt.Sprintf("ModelVersion %s is not the one that was promoted, which was deleted. Promote another one, or remove the alias and add it again: kubectl edit mo -n %s %s", name, namespace, o.Model.Name)
	}
	return mv, ""
}

// isReplaced reports whether the ModelVersion of an alias was deleted, and another one has
// its name and another image. Who may create ModelVersions would promote it otherwise, in
// the name of the user who promoted the first one.
func isReplaced(state *v1alpha1.AliasStatus, mv *v1alpha1.ModelVersion) bool {
	return state.Version == mv.Name && state.VersionUID != "" && state.VersionUID != string(mv.UID) && state.Digest != mv.Status.Digest
}

// reasonOrNone returns the reason of a ModelVersion that is not Ready.
func reasonOrNone(mv *v1alpha1.ModelVersion) string {
	if reason := ReadyReason(mv); reason != "" {
		return reason
	}
	return "its build has not started"
}

// keeps returns what an alias that cannot be resolved stands for meanwhile.
func keeps(alias v1alpha1.AliasStatus) string {
	if alias.Version == "" {
		return ". Pods that serve the alias are rejected until then"
	}
	return ". Until then the alias stands for " + alias.Version
}

// promoted returns the status of an alias that gets another ModelVersion. No two
// ModelVersions have an alias since the same second, which distinguishes promotions.
func promoted(alias v1alpha1.AliasStatus, mv *v1alpha1.ModelVersion, by string, now metav1.Time) v1alpha1.AliasStatus {
	if alias.Version != "" {
		if since := alias.Since; since != nil && !since.Before(&now) {
			now = metav1.NewTime(since.Add(time.Second))
		}
		last := v1alpha1.AliasRecord{Version: alias.Version, Digest: alias.Digest, From: alias.Since, To: &now, By: alias.By}
		alias.History = slices.Insert(alias.History, 0, last)
		alias.History = alias.History[:min(len(alias.History), maxAliasHistory)]
	}
	alias.Version, alias.Digest = mv.Name, mv.Status.Digest
	alias.Since, alias.By = &now, by
	return alias
}

// countPods counts the pods that serve an image, and those that serve another one.
func countPods(byDigest map[string]int32, digest string) *v1alpha1.AliasPods {
	pods := &v1alpha1.AliasPods{}
	for served, count := range byDigest {
		if served == digest {
			pods.Current += count
		} else {
			pods.Behind += count
		}
	}
	return pods
}
