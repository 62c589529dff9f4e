package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// observeTraining reads the workload that a ModelVersion waits for, or was created from,
// from the API server, and the pods that show on which node its files are, and what it is
// made from.
func (r *ModelVersionReconciler) observeTraining(ctx context.Context, mv *v1alpha1.ModelVersion, observed *lifecycle.Observed) error {
	kind, trains := lifecycle.ObservedTraining(mv, r.Options)
	if !trains || kind == nil || lifecycle.IsFinished(mv) {
		return nil
	}
	workload := &unstructured.Unstructured{}
	workload.SetGroupVersionKind(kind.GroupVersionKind)
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.TrainedBy.Name}, workload)
	switch {
	case meta.IsNoMatchError(err):
		observed.TrainingKindMissing = true
	case apierrors.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("get %s %q: %w", kind.Kind, mv.Spec.TrainedBy.Name, err)
	default:
		observed.Training = workload
	}
	var pods corev1.PodList
	if err := r.Training.List(ctx, &pods, client.InNamespace(mv.Namespace), client.MatchingLabels{v1alpha1.LabelTrainVersion: mv.Name}); err != nil {
		return fmt.Errorf("list training pods: %w", err)
	}
	observed.TrainingPods = pods.Items
	return nil
}
