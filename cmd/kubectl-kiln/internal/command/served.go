package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/xlab/treeprint"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
)

// addServing adds the workloads that serve a ModelVersion.
func addServing(tree treeprint.Tree, mv *v1alpha1.ModelVersion, pods []corev1.Pod) {
	for _, line := range servedBy(mv, pods) {
		tree.AddNode("serves\t" + line)
	}
}

// servedVersion returns the ModelVersion that a pod serves, or nil if it was deleted.
func (c *cluster) servedVersion(ctx context.Context, pod *corev1.Pod) (*v1alpha1.ModelVersion, error) {
	name := pod.Annotations[v1alpha1.AnnotationServedVersion]
	if name == "" {
		return nil, fmt.Errorf("pod %s serves no ModelVersion: it has none of the labels %s and %s", pod.Name, v1alpha1.LabelServeVersion, v1alpha1.LabelServeModel)
	}
	// Users can write what is no name where the policy that reserves the annotation is not
	// installed.
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return nil, nil
	}
	mv := &v1alpha1.ModelVersion{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: name}, mv); client.IgnoreNotFound(err) != nil {
		return nil, c.explain(err, "ModelVersion", name)
	}
	// Another ModelVersion may have the name now.
	if mv.UID == "" || string(mv.UID) != pod.Labels[v1alpha1.LabelServedVersionUID] {
		return nil, nil
	}
	return mv, nil
}

// servedProblem returns in which way a pod does not have the model of the ModelVersion that
// its label names, or "". The pod itself says what it mounts; its annotations may not be
// those of the webhook.
func servedProblem(pod *corev1.Pod, mv *v1alpha1.ModelVersion) string {
	image := visible(inject.ServedImage(pod))
	switch {
	case image == "":
		return fmt.Sprintf("the pod mounts no image of a model, though its annotation names %s", mv.Name)
	case !strings.HasSuffix(image, "@"+mv.Status.Digest):
		return fmt.Sprintf("the pod mounts %s, and the digest of %s is %s", image, mv.Name, mv.Status.Digest)
	default:
		return ""
	}
}

// servingPods returns the pods that serve a ModelVersion or, for nil, any.
func (c *cluster) servingPods(ctx context.Context, mv *v1alpha1.ModelVersion) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	var match client.ListOption = client.HasLabels{v1alpha1.LabelServedVersionUID}
	if mv != nil {
		match = client.MatchingLabels{v1alpha1.LabelServedVersionUID: string(mv.UID)}
	}
	if err := c.List(ctx, list, client.InNamespace(c.namespace), match); err != nil {
		return nil, c.explain(err, "Pod", "")
	}
	return list.Items, nil
}

// servedBy returns the workloads whose pods serve a ModelVersion, with the number of
// those pods and of the ones that are ready.
func servedBy(mv *v1alpha1.ModelVersion, pods []corev1.Pod) []string {
	ready, all := map[string]int{}, map[string]int{}
	for i := range pods {
		pod := &pods[i]
		if pod.Labels[v1alpha1.LabelServedVersionUID] != string(mv.UID) || hasEnded(pod) {
			continue
		}
		owner := workloadOf(pod)
		all[owner]++
		if isPodReady(pod) {
			ready[owner]++
		}
	}
	var lines []string
	for _, owner := range slices.Sorted(maps.Keys(all)) {
		lines = append(lines, fmt.Sprintf("%s\t%d/%d ready", owner, ready[owner], all[owner]))
	}
	return lines
}

// workloadOf returns the workload that a pod belongs to, as kubectl writes it. The name
// of a Deployment's ReplicaSet ends with the hash that is a label of the pod. The API server
// accepts any text as the kind and name of an owner.
func workloadOf(pod *corev1.Pod) string {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return "pod/" + pod.Name
	}
	hash := pod.Labels["pod-template-hash"]
	if deployment, found := strings.CutSuffix(owner.Name, "-"+hash); found && owner.Kind == "ReplicaSet" && hash != "" {
		return visible("deployment/" + deployment)
	}
	return visible(strings.ToLower(owner.Kind) + "/" + owner.Name)
}

func isPodReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
