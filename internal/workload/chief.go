package workload

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// ChiefNode returns the node on which the chief of a training runs or ran, or
// why it is not known. A failed pod counts as long as there is no other, since
// its controller may not have created the next one yet.
func ChiefNode(pods []corev1.Pod) (node, why string) {
	var best []corev1.Pod
	for _, pod := range pods {
		if pod.Spec.NodeName == "" {
			continue
		}
		switch {
		case len(best) == 0 || precedes(pod, best[0]):
			best = []corev1.Pod{pod}
		case !precedes(best[0], pod):
			best = append(best, pod)
		}
	}
	if len(best) == 0 {
		return "", fmt.Sprintf("no pod with the label %s was seen", v1alpha1.LabelTrainVersion)
	}
	if rankOf(best[0]) < rankUnknown && !slices.ContainsFunc(best, func(pod corev1.Pod) bool { return pod.Labels[labelReplicatedJob] != best[0].Labels[labelReplicatedJob] }) {
		newest := slices.MaxFunc(best, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
		return newest.Spec.NodeName, ""
	}
	if len(best) > 1 {
		return "", fmt.Sprintf("%d pods have the label %s, and none of them is the chief", len(best), v1alpha1.LabelTrainVersion)
	}
	return best[0].Spec.NodeName, ""
}

// precedes reports whether pod a is the chief rather than pod b.
func precedes(a, b corev1.Pod) bool {
	if rankOf(a) != rankOf(b) {
		return rankOf(a) < rankOf(b)
	}
	return a.Status.Phase != corev1.PodFailed && b.Status.Phase == corev1.PodFailed
}

// Ranks of training pods. The lowest rank is the chief's.
const (
	rankChief = iota
	rankFirstWorker
	rankUnknown
)

// Labels that the controllers of training workloads set on pods: Kubeflow's training
// operator, Job, and JobSet, which Trainer creates for its TrainJobs. Each
// replicated job of a JobSet has a first pod.
const (
	labelReplicaType     = "training.kubeflow.org/replica-type"
	labelReplicaIndex    = "training.kubeflow.org/replica-index"
	labelCompletionIndex = "batch.kubernetes.io/job-completion-index"
	labelJobIndex        = "jobset.sigs.k8s.io/job-index"
	labelReplicatedJob   = "jobset.sigs.k8s.io/replicatedjob-name"
)

// ChiefLabels returns the labels of pods that ChiefNode reads.
func ChiefLabels() []string {
	return []string{labelReplicaType, labelReplicaIndex, labelCompletionIndex, labelJobIndex, labelReplicatedJob}
}

// rankOf returns a pod's rank by the labels that its controller sets.
func rankOf(pod corev1.Pod) int {
	switch role := strings.ToLower(pod.Labels[labelReplicaType]); {
	case role == "master" || role == "chief":
		return rankChief
	case role == "worker" && pod.Labels[labelReplicaIndex] == "0":
		return rankFirstWorker
	}
	isFirstJob := pod.Labels[labelJobIndex] == "" || pod.Labels[labelJobIndex] == "0"
	if pod.Labels[labelCompletionIndex] == "0" && isFirstJob {
		return rankFirstWorker
	}
	return rankUnknown
}
