package lifecycle

import (
	"fmt"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lineage"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// Reasons of events about the lineage of a ModelVersion.
const (
	// EventLineageIgnored means that the lineage which the training workload declares
	// cannot be read, and that the model is built without it.
	EventLineageIgnored = "LineageIgnored"
	// EventLineageContradiction means that two facts of the lineage cannot both be true.
	EventLineageContradiction = "LineageContradiction"
)

// lineageField is the source of the facts that a ModelVersion declares itself.
const lineageField = "spec.lineage"

// maxLineage is the size of an annotation with a lineage in bytes: more than the facts
// that a status can hold.
const maxLineage = 32 << 10

// withLineage returns the ModelVersion with what is declared and observed about its making
// in the status. The workload and its pods do not last, so what they show is recorded
// while they exist. After a build has succeeded, nothing changes.
func withLineage(mv *v1alpha1.ModelVersion, o Observed) *v1alpha1.ModelVersion {
	if IsFinished(mv) {
		return mv
	}
	facts, omitted := lineage.Own(ownFacts(mv, o))
	next := lineageStatus(facts, omitted)
	if equality.Semantic.DeepEqual(mv.Status.Lineage, next) {
		return mv
	}
	mv = mv.DeepCopy()
	mv.Status.Lineage = next
	return mv
}

// ownFacts returns what is declared and observed. What the status records of the workload
// and its pods stays when they are gone.
func ownFacts(mv *v1alpha1.ModelVersion, o Observed) []v1alpha1.LineageFact {
	facts := lineage.Declared(mv.Spec.Lineage, lineageField)
	if !observesTraining(o) {
		return append(facts, recordedFacts(mv)...)
	}
	annotated, _ := annotatedLineage(o)
	observed := workload.Facts(o.Training, o.TrainingPods)
	return slices.Concat(facts, annotated, observed[:1], recordedOf(mv, observed[0]), observed[1:])
}

// recordedOf returns the facts in the status that were observed of a workload, without the
// one about the workload itself, which may have ended since. Those about an earlier
// workload of the same name do not count.
func recordedOf(mv *v1alpha1.ModelVersion, current v1alpha1.LineageFact) []v1alpha1.LineageFact {
	recorded := lineage.OfOrigin(recordedFacts(mv), v1alpha1.ObservedFact)
	isWorkload := func(fact v1alpha1.LineageFact) bool { return fact.Kind == v1alpha1.WorkloadFact }
	i := slices.IndexFunc(recorded, isWorkload)
	if i < 0 || recorded[i].Digest != current.Digest {
		return nil
	}
	return slices.DeleteFunc(recorded, isWorkload)
}

// recordedFacts returns the facts in the status that the workload has declared and that
// were observed of it.
func recordedFacts(mv *v1alpha1.ModelVersion) []v1alpha1.LineageFact {
	if mv.Status.Lineage == nil {
		return nil
	}
	own, _ := lineage.Own(mv.Status.Lineage.Facts)
	return slices.DeleteFunc(own, func(fact v1alpha1.LineageFact) bool { return fact.Source == lineageField })
}

// observesTraining reports whether the workload exists that trains or has trained the
// ModelVersion. The name of a ModelVersion that was created from a workload has the
// workload's UID.
func observesTraining(o Observed) bool {
	if o.Training == nil {
		return false
	}
	return !isTrained(o.Version) || o.Version.Name == workflow.ModelVersionName(o.Training.GetName(), o.Training.GetUID())
}

// annotatedLineage returns the facts that the workload declares in its annotation, or the
// Problem with the annotation.
func annotatedLineage(o Observed) ([]v1alpha1.LineageFact, *workflow.Problem) {
	if !observesTraining(o) {
		return nil, nil
	}
	var declared v1alpha1.Lineage
	name := o.Training.GetKind() + " " + o.Training.GetName()
	if err := parse(o.Training.GetAnnotations()[v1alpha1.AnnotationLineage], maxLineage, &declared); err != nil {
		return nil, &workflow.Problem{Reason: EventLineageIgnored, Message: fmt.Sprintf(
			"The lineage in the annotation %s of %s is ignored: %s. Correct it before the build starts (kubectl edit -n %s %s/%s), or declare it in spec.lineage before the build succeeds (kubectl edit mv -n %s %s)",
			v1alpha1.AnnotationLineage, name, sentence(err.Error()), o.Version.Namespace, strings.ToLower(o.Training.GetKind()), o.Training.GetName(), o.Version.Namespace, o.Version.Name)}
	}
	return lineage.Declared(&declared, name), nil
}

// hasLineage reports whether a Workflow has the lineage of the ModelVersion as argument,
// or none. A pass that was interrupted may have observed more of the training than is
// recorded, so what the spec declares decides then.
func hasLineage(wf *wfv1.Workflow, mv *v1alpha1.ModelVersion) bool {
	argument := workflow.Argument(wf, contract.ParamLineage)
	if own, _ := lineage.Own(ownFacts(mv, Observed{Version: mv})); argument == "" || argument == lineage.Encode(own) {
		return true
	}
	facts, err := lineage.Decode(argument)
	declared, _ := lineage.Own(lineage.Declared(mv.Spec.Lineage, lineageField))
	isOther := func(fact v1alpha1.LineageFact) bool { return fact.Source != lineageField }
	return err == nil && mv.Spec.TrainedBy != nil && slices.Equal(declared, slices.DeleteFunc(facts, isOther))
}

// ownLineage returns what a status records of the lineage of a ModelVersion before its
// files have been read.
func ownLineage(mv *v1alpha1.ModelVersion) *v1alpha1.LineageStatus {
	return lineageStatus(lineage.Own(ownFacts(mv, Observed{Version: mv})))
}

// fullLineage returns what a status records of the lineage of a ModelVersion that was
// built. Of the report, only what the files state counts: the rest is known better here.
func fullLineage(mv *v1alpha1.ModelVersion, run report.Report, bases []v1alpha1.ModelVersion) *v1alpha1.LineageStatus {
	own, ownOmitted := lineage.Own(ownFacts(mv, Observed{Version: mv}))
	files, filesOmitted := lineage.Files(run.Lineage)
	const maxOmitted = 1 << 31 // A forged report can have any number.
	return lineageStatus(lineage.All(own, files, aliasesOf(bases)), ownOmitted+filesOmitted+min(max(run.LineageOmitted, 0), maxOmitted))
}

// BaseVersions returns the names of the ModelVersions that the status of one names as base
// models.
func BaseVersions(mv *v1alpha1.ModelVersion) []string {
	if mv.Status.Lineage == nil {
		return nil
	}
	var names []string
	for _, fact := range mv.Status.Lineage.Facts {
		if name, found := lineage.VersionOf(fact); found && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// maxAliases is how many further names of a base model are compared with those in files.
const maxAliases = 8

// aliasesOf returns the names by which model cards may know ModelVersions: that of the
// Model, where the files come from, and their own base models.
func aliasesOf(bases []v1alpha1.ModelVersion) map[string][]string {
	aliases := map[string][]string{}
	for i := range bases {
		base := &bases[i]
		names := []string{base.Spec.ModelName}
		if hub := base.Spec.Storage.HuggingFace; hub != nil {
			names = append(names, hub.Repo)
		}
		if base.Status.Lineage != nil {
			for _, fact := range base.Status.Lineage.Facts {
				if fact.Kind == v1alpha1.BaseModelFact {
					names = append(names, fact.Name, fact.URI)
				}
			}
		}
		aliases[base.Name] = names[:min(len(names), maxAliases)]
	}
	return aliases
}

// lineageStatus returns facts as a status has them, or nil if there are none.
func lineageStatus(facts []v1alpha1.LineageFact, omitted int64) *v1alpha1.LineageStatus {
	if len(facts) == 0 && omitted == 0 {
		return nil
	}
	return &v1alpha1.LineageStatus{Facts: facts, Omitted: omitted}
}

// LineageContradiction returns the message about the facts of a new status that contradict
// each other, or an empty string if there are none, or the same as before.
func LineageContradiction(mv *v1alpha1.ModelVersion, before v1alpha1.ModelVersionStatus) string {
	contradicting := contradictions(mv.Status)
	if len(contradicting) == 0 || slices.Equal(contradicting, contradictions(before)) {
		return ""
	}
	first := contradicting[0]
	return fmt.Sprintf("%s contradicts %s. To see all facts: kubectl get mv -n %s %s -o jsonpath='{.status.lineage}'", lineage.Stated(first), first.Contradicts, mv.Namespace, mv.Name)
}

func contradictions(status v1alpha1.ModelVersionStatus) []v1alpha1.LineageFact {
	if status.Lineage == nil {
		return nil
	}
	return lineage.Contradictions(status.Lineage.Facts)
}
