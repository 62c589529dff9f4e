package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// maxPodPages is how many pages of pods are read to find those that use a claim.
const maxPodPages = 20

// claimUsers returns the pods that use a claim on a node, other than those of a
// Workflow, in the order of their names. Pods of others are not cached: they are
// read, up to a limit, when the claim keeps the pod of a build from starting.
func (r *ModelVersionReconciler) claimUsers(ctx context.Context, wf *wfv1.Workflow, claim string) ([]lifecycle.ClaimUser, error) {
	var users []lifecycle.ClaimUser
	options := &client.ListOptions{Namespace: wf.Namespace, Limit: pageSize}
	for range maxPodPages {
		var page corev1.PodList
		if err := r.Live.List(ctx, &page, options); err != nil {
			return nil, fmt.Errorf("list Pods that use claim %q: %w", claim, err)
		}
		for i := range page.Items {
			if pod := &page.Items[i]; !metav1.IsControlledBy(pod, wf) && holds(pod, claim) {
				users = append(users, lifecycle.ClaimUser{Pod: pod.Name, Node: pod.Spec.NodeName})
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	slices.SortFunc(users, func(a, b lifecycle.ClaimUser) int { return cmp.Compare(a.Pod, b.Pod) })
	return users, nil
}

// holds reports whether a pod that was scheduled and has not ended uses a claim.
func holds(pod *corev1.Pod, claim string) bool {
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim
	})
}
