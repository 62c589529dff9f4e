package workload

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trainer returns a training pod on a node that is named after it.
func trainer(name string, labels map[string]string, phase corev1.PodPhase, minute int) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, CreationTimestamp: metav1.NewTime(time.Date(2026, time.March, 1, 12, minute, 0, 0, time.UTC))},
		Spec:       corev1.PodSpec{NodeName: "node-of-" + name},
		Status:     corev1.PodStatus{Phase: phase},
	}
}

func kubeflow(role, index string) map[string]string {
	return map[string]string{"training.kubeflow.org/replica-type": role, "training.kubeflow.org/replica-index": index}
}

func indexed(index string) map[string]string {
	return map[string]string{"batch.kubernetes.io/job-completion-index": index}
}

func TestChiefNode(t *testing.T) {
	ofJobSet := func(job, index string) map[string]string {
		labels := indexed(index)
		labels["jobset.sigs.k8s.io/job-index"] = job
		return labels
	}
	ofJobs := func(name string) map[string]string {
		labels := ofJobSet("0", "0")
		labels["jobset.sigs.k8s.io/replicatedjob-name"] = name
		return labels
	}
	unscheduled := trainer("later", kubeflow("Master", "0"), corev1.PodPending, 2)
	unscheduled.Spec.NodeName = ""
	const done, failed, running = corev1.PodSucceeded, corev1.PodFailed, corev1.PodRunning
	tests := map[string]struct {
		pods []corev1.Pod
		want string
		why  string
	}{
		"the master before the first worker": {pods: []corev1.Pod{trainer("w0", kubeflow("worker", "0"), done, 0), trainer("m", kubeflow("master", "0"), done, 1)}, want: "node-of-m"},
		"the chief in any case":              {pods: []corev1.Pod{trainer("w0", kubeflow("worker", "0"), done, 0), trainer("c", kubeflow("Chief", "0"), done, 1)}, want: "node-of-c"},
		"the first worker where there is no chief": {pods: []corev1.Pod{
			trainer("w1", kubeflow("worker", "1"), done, 0), trainer("ps", kubeflow("ps", "0"), done, 0), trainer("w0", kubeflow("worker", "0"), done, 1),
		}, want: "node-of-w0"},
		"index 0 of a Job":                      {pods: []corev1.Pod{trainer("b", indexed("1"), done, 0), trainer("a", indexed("0"), done, 0)}, want: "node-of-a"},
		"index 0 of the first Job of a JobSet":  {pods: []corev1.Pod{trainer("b", ofJobSet("1", "0"), done, 0), trainer("a", ofJobSet("0", "0"), done, 0)}, want: "node-of-a"},
		"the only pod":                          {pods: []corev1.Pod{trainer("a", nil, done, 0)}, want: "node-of-a"},
		"the only pod that did not fail":        {pods: []corev1.Pod{trainer("a", nil, failed, 0), trainer("b", nil, running, 1)}, want: "node-of-b"},
		"the chief's retry":                     {pods: []corev1.Pod{trainer("a", indexed("0"), failed, 0), trainer("b", indexed("0"), done, 1)}, want: "node-of-b"},
		"the newer of two tries":                {pods: []corev1.Pod{trainer("b", indexed("0"), running, 1), trainer("a", indexed("0"), running, 0)}, want: "node-of-b"},
		"a pod without a node does not count":   {pods: []corev1.Pod{unscheduled, trainer("w0", kubeflow("worker", "0"), running, 0)}, want: "node-of-w0"},
		"the first pods of two replicated Jobs": {pods: []corev1.Pod{trainer("a", ofJobs("fetch"), done, 0), trainer("b", ofJobs("train"), done, 1)}, why: "2 pods have the label model.kubedl.io/train-version, and none of them is the chief"},
		"two equal pods":                        {pods: []corev1.Pod{trainer("a", nil, done, 0), trainer("b", nil, done, 1)}, why: "2 pods have the label model.kubedl.io/train-version, and none of them is the chief"},
		"no pods":                               {why: "no pod with the label model.kubedl.io/train-version was seen"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			node, why := ChiefNode(tt.pods)
			assert.Equal(t, tt.want, node)
			assert.Equal(t, tt.why, why)
		})
	}
}
