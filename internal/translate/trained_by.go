package translate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// TrainingKinds are the kinds that are waited for whatever the configuration
// says. A cluster need not have them.
func TrainingKinds() []schema.GroupVersionKind {
	return []schema.GroupVersionKind{
		{Group: "batch", Version: "v1", Kind: "Job"},
		{Group: "jobset.x-k8s.io", Version: "v1alpha2", Kind: "JobSet"},
		{Group: "kubeflow.org", Version: "v1", Kind: "PyTorchJob"},
		{Group: "kubeflow.org", Version: "v1", Kind: "TFJob"},
		{Group: "trainer.kubeflow.org", Version: "v1alpha1", Kind: "TrainJob"},
	}
}

// TrainedBy is the kind of the workload that a version waits for. It is false
// when the version waits for none, or no longer, and the kind is empty when it
// is none that the operator watches.
func TrainedBy(mv *v1alpha1.ModelVersion, opts Options) (schema.GroupVersionKind, bool) {
	workload := mv.Spec.TrainedBy
	if workload == nil || mv.Status.Workflow != nil {
		return schema.GroupVersionKind{}, false
	}
	group := schema.FromAPIVersionAndKind(workload.APIVersion, workload.Kind).Group
	for _, kind := range opts.TrainingKinds {
		if kind.Group == group && kind.Kind == workload.Kind {
			return kind, true
		}
	}
	return schema.GroupVersionKind{}, true
}

// Training states of a workload.
const (
	trainingGoesOn    = ""
	trainingCompleted = "completed"
	trainingFailed    = "failed"
)

// trainingState is how far a workload is by the conditions in its status, and
// for one that failed, its own words for why.
func trainingState(workload *unstructured.Unstructured) (state, words string) {
	// Whatever else is there is no condition that says anything.
	conditions, _, _ := unstructured.NestedSlice(workload.Object, "status", "conditions")
	for _, each := range conditions {
		condition, isCondition := each.(map[string]any)
		if !isCondition || condition["status"] != string(corev1.ConditionTrue) {
			continue
		}
		switch condition["type"] {
		case "Complete", "Completed", "Succeeded":
			return trainingCompleted, ""
		case "Failed":
			var said []string
			for _, key := range []string{"reason", "message"} {
				if text, isText := condition[key].(string); isText && text != "" {
					said = append(said, text)
				}
			}
			state, words = trainingFailed, sentence(strings.Join(said, ": "))
		}
	}
	return state, words
}

// awaitTraining is the status of a version that cannot be built yet, or not at
// all, for the sake of the workload that it names; nil when it can be built. The
// version comes back with the node that is known by now.
func awaitTraining(o Observed, opts Options) (*v1alpha1.ModelVersion, *v1alpha1.ModelVersionStatus) {
	mv := o.Version
	kind, waits := TrainedBy(mv, opts)
	if !waits {
		return mv, nil
	}
	named := mv.Spec.TrainedBy
	if kind.Empty() {
		status := failedStatus(mv, unchanged(mv), v1alpha1.ReasonTrainingKindUnknown, fmt.Sprintf("The operator does not watch the kind %s of %s. The platform team adds it to trainingKinds in the operator's configuration. %s", named.Kind, named.APIVersion, buildNow(mv)))
		return mv, &status
	}
	mv, where := withChiefsNode(mv, o.TrainingPods)
	name := named.Kind + " " + named.Name
	if o.Training == nil {
		message := fmt.Sprintf("There is no %s yet; the build starts when it has completed. %s", name, buildNow(mv))
		if o.TrainingKindMissing {
			message = fmt.Sprintf("The cluster does not have the kind %s of %s yet; the build starts when there is a %s that has completed. %s", named.Kind, named.APIVersion, name, buildNow(mv))
		}
		status := waiting(mv, v1alpha1.ReasonWaitingForTraining, message)
		return mv, &status
	}
	switch state, words := trainingState(o.Training); state {
	case trainingFailed:
		if words != "" {
			words = ": " + words
		}
		status := failedStatus(mv, unchanged(mv), v1alpha1.ReasonTrainingFailed, fmt.Sprintf("%s failed%s. Run it again under the same name, and the build starts when it has completed. %s", name, words, buildNow(mv)))
		return mv, &status
	case trainingGoesOn:
		status := waiting(mv, v1alpha1.ReasonWaitingForTraining, fmt.Sprintf("%s has not completed; the build starts when it has. %s", name, buildNow(mv)))
		return mv, &status
	}
	if lacksChiefsNode(mv) {
		status := failedStatus(mv, unchanged(mv), v1alpha1.ReasonNodeUnknown, fmt.Sprintf("%s has completed, and it is not known on which node its files lie: %s. Create a new ModelVersion that says nodeName", name, where))
		return mv, &status
	}
	return mv, nil
}

// buildNow is how to build without waiting. Files of a node that is not known
// cannot be built so.
func buildNow(mv *v1alpha1.ModelVersion) string {
	if needsChiefsNode(mv) {
		return "To build without waiting, create a new ModelVersion that says nodeName, and no trainedBy"
	}
	return fmt.Sprintf(`To build what is there now: kubectl patch mv -n %s %s --type=json -p '[{"op":"remove","path":"/spec/trainedBy"}]'`, mv.Namespace, mv.Name)
}

// needsChiefsNode says that the files lie on a node that the spec does not name.
func needsChiefsNode(mv *v1alpha1.ModelVersion) bool {
	folder := mv.Spec.Storage.LocalStorage
	return folder != nil && folder.NodeName == "" && mv.Spec.TrainedBy != nil
}

// lacksChiefsNode says that this node is not known yet.
func lacksChiefsNode(mv *v1alpha1.ModelVersion) bool {
	return needsChiefsNode(mv) && mv.Status.NodeName == ""
}

// withChiefsNode is the version with the node of its training's chief in the
// status, where that is asked for and known, and otherwise why it is not known.
func withChiefsNode(mv *v1alpha1.ModelVersion, pods []corev1.Pod) (*v1alpha1.ModelVersion, string) {
	if !needsChiefsNode(mv) {
		return mv, ""
	}
	node, why := chiefsNode(pods)
	// Where no pod is left, what was written down before holds.
	if len(pods) > 0 && node != mv.Status.NodeName {
		mv = mv.DeepCopy()
		mv.Status.NodeName = node
	}
	return mv, why
}

// chiefsNode is the node on which the chief of a training runs or ran, and if it
// is not known, why. A pod that failed counts as long as there is no other: what
// has made it anew may not have done so yet.
func chiefsNode(pods []corev1.Pod) (node, why string) {
	var best []corev1.Pod
	for _, pod := range pods {
		if pod.Spec.NodeName == "" {
			continue
		}
		switch {
		case len(best) == 0 || before(pod, best[0]):
			best = []corev1.Pod{pod}
		case !before(best[0], pod):
			best = append(best, pod)
		}
	}
	if len(best) == 0 {
		return "", fmt.Sprintf("no pod with the label %s was seen", v1alpha1.LabelTrainVersion)
	}
	if chiefRank(best[0]) < onlyPod && !slices.ContainsFunc(best, func(pod corev1.Pod) bool { return pod.Labels[labelReplicatedJob] != best[0].Labels[labelReplicatedJob] }) {
		newest := slices.MaxFunc(best, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
		return newest.Spec.NodeName, ""
	}
	if len(best) > 1 {
		return "", fmt.Sprintf("%d pods have the label %s, and none of them is the chief", len(best), v1alpha1.LabelTrainVersion)
	}
	return best[0].Spec.NodeName, ""
}

// before says that one pod is the chief rather than another.
func before(a, b corev1.Pod) bool {
	if chiefRank(a) != chiefRank(b) {
		return chiefRank(a) < chiefRank(b)
	}
	return a.Status.Phase != corev1.PodFailed && b.Status.Phase == corev1.PodFailed
}

// Ranks of pods: who is the chief.
const (
	chief = iota
	firstOfAll
	onlyPod
)

// labelReplicatedJob is JobSet's label for which of its kinds of Jobs a pod
// belongs to. Each of them has a first one.
const labelReplicatedJob = "jobset.sigs.k8s.io/replicatedjob-name"

// chiefRank reads the labels that a pod has from its controller: Kubeflow's
// training operator, Job, and JobSet, of which Trainer makes its TrainJobs.
func chiefRank(pod corev1.Pod) int {
	switch role := strings.ToLower(pod.Labels["training.kubeflow.org/replica-type"]); {
	case role == "master" || role == "chief":
		return chief
	case role == "worker" && pod.Labels["training.kubeflow.org/replica-index"] == "0":
		return firstOfAll
	}
	isFirstJob := pod.Labels["jobset.sigs.k8s.io/job-index"] == "" || pod.Labels["jobset.sigs.k8s.io/job-index"] == "0"
	if pod.Labels["batch.kubernetes.io/job-completion-index"] == "0" && isFirstJob {
		return firstOfAll
	}
	return onlyPod
}
