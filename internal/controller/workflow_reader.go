package controller

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/json"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/text"
)

// Workflows are watched and cached as metadata, and those that matter to a pass
// are read one by one. Argo's default CRD accepts anything under spec and status:
// one Workflow that cannot be decoded would fail every list and watch of typed
// Workflows, and a few large ones would fill the memory of the operator. So each is
// decoded by itself, and its size is checked before.

const (
	// labelPhase and labelCompleted are Argo's copies of a Workflow's phase, and
	// of whether it is final.
	labelPhase     = "workflows.argoproj.io/phase"
	labelCompleted = "workflows.argoproj.io/completed"

	// maxWorkflowsRead is how many Workflows of one ModelVersion a pass reads.
	maxWorkflowsRead = 10
	// maxWorkflowBytes is the size of a Workflow that is read, as JSON. Argo does
	// not store larger ones: it compresses their nodes.
	maxWorkflowBytes = 1 << 20
	// maxWorkflowNodes is how many nodes a Workflow may have. Ours have six, and
	// ten for each retry.
	maxWorkflowNodes = 2000
	// maxWorkflowValues is how many JSON values a Workflow may have: 30 for each
	// node. It bounds the memory, since three bytes in a list can stand for half a
	// kilobyte of a Go type.
	maxWorkflowValues = 30 * maxWorkflowNodes
	// maxPassValues is how many JSON values all Workflows that a pass reads may
	// have.
	maxPassValues = 2 * maxWorkflowValues
)

// errInvalidWorkflow is the error of a Workflow that was read and cannot be used.
type errInvalidWorkflow struct{ error }

// workflowReader reads the Workflows of ModelVersions from the API server.
type workflowReader struct {
	live client.Reader

	mu sync.Mutex
	// seen has the resource versions of the Workflows of each ModelVersion at its
	// last pass. A Workflow that users retry can finish again between two passes.
	seen map[types.NamespacedName][]seenWorkflow
}

// seenWorkflow is the resource version of a Workflow. Most ModelVersions have one, for
// which a map would be large.
type seenWorkflow struct {
	uid             types.UID
	resourceVersion string
}

// storedWorkflow is a Workflow as the API server returns it. Only after its size
// was checked is it decoded.
type storedWorkflow struct {
	// Unstructured has the kind. The client requires it of an object that it does
	// not decode into a Go type of the scheme.
	unstructured.Unstructured
	raw []byte
}

// UnmarshalJSON keeps the JSON.
func (s *storedWorkflow) UnmarshalJSON(raw []byte) error {
	s.raw = bytes.Clone(raw)
	return nil
}

// get reads one Workflow. Its error is an errInvalidWorkflow if the Workflow cannot
// be decoded or is too large.
func (w *workflowReader) get(ctx context.Context, key client.ObjectKey) (*wfv1.Workflow, error) {
	budget := maxPassValues
	return w.getWithin(ctx, key, &budget)
}

// getWithin is get with a budget of JSON values, which it reduces.
func (w *workflowReader) getWithin(ctx context.Context, key client.ObjectKey, budget *int) (*wfv1.Workflow, error) {
	stored := &storedWorkflow{}
	stored.SetGroupVersionKind(argoKinds[0])
	if err := w.live.Get(ctx, key, stored); err != nil {
		return nil, err
	}
	return decodeWorkflow(stored.raw, budget)
}

func decodeWorkflow(raw []byte, budget *int) (*wfv1.Workflow, error) {
	if len(raw) > maxWorkflowBytes {
		return nil, errInvalidWorkflow{fmt.Errorf("it has %d bytes, and at most %d are read", len(raw), maxWorkflowBytes)}
	}
	var counted text.JSONValues
	_, _ = counted.Write(raw) // It cannot fail.
	values := counted.Count
	if values > maxWorkflowValues {
		return nil, errInvalidWorkflow{fmt.Errorf("it has %d fields and list items, and at most %d are read", values, maxWorkflowValues)}
	}
	if *budget -= values; *budget < 0 {
		return nil, errInvalidWorkflow{fmt.Errorf("the Workflows of the ModelVersion together have more than %d fields and list items", maxPassValues)}
	}
	wf := &wfv1.Workflow{}
	if err := json.UnmarshalCaseSensitivePreserveInts(raw, wf); err != nil {
		return nil, errInvalidWorkflow{err}
	}
	if nodes := len(wf.Status.Nodes); nodes > maxWorkflowNodes {
		return nil, errInvalidWorkflow{fmt.Errorf("it has %d nodes, and at most %d are read", nodes, maxWorkflowNodes)}
	}
	wf.ManagedFields, wf.Status.StoredTemplates = nil, nil
	if wf.Status.StoredWorkflowSpec != nil {
		// Only that Argo has stored it is read: it does not read the arguments again.
		wf.Status.StoredWorkflowSpec = &wfv1.WorkflowSpec{}
	}
	return wf, nil
}

// relevant returns the names of the Workflows that have to be read to decide which
// of them the ModelVersion follows, and what that one means: the one that the
// status names, those that have not finished, the newest, and those that have
// changed since the last pass. Of a ModelVersion whose image was built, these are the
// ones that were created after the one that built it, or have changed.
func (w *workflowReader) relevant(mv *v1alpha1.ModelVersion, list []metav1.PartialObjectMetadata) map[string]bool {
	slices.SortStableFunc(list, func(a, b metav1.PartialObjectMetadata) int {
		return b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
	})
	key := client.ObjectKeyFromObject(mv)
	w.mu.Lock()
	defer w.mu.Unlock()
	before, now := map[types.UID]string{}, make([]seenWorkflow, 0, len(list))
	for _, wf := range w.seen[key] {
		before[wf.uid] = wf.resourceVersion
	}
	names := map[string]bool{}
	finished, last := lifecycle.IsFinished(mv), mv.Status.Workflow
	if last != nil && !finished {
		names[last.Name] = true
	}
	for i, wf := range list {
		now = append(now, seenWorkflow{wf.UID, wf.ResourceVersion})
		version, seen := before[wf.UID]
		changed := version != wf.ResourceVersion
		relevant := i == 0 || changed || wf.Labels[labelCompleted] != "true"
		if finished {
			relevant = isLater(wf, mv, seen && changed)
		}
		if relevant && len(names) < maxWorkflowsRead {
			names[wf.Name] = true
		}
	}
	if w.seen == nil {
		w.seen = map[types.NamespacedName][]seenWorkflow{}
	}
	w.seen[key] = now
	return names
}

// isLater reports whether a Workflow of a ModelVersion whose image was built may be
// another attempt: it was created after those that were followed, or has changed since.
func isLater(wf metav1.PartialObjectMetadata, mv *v1alpha1.ModelVersion, changed bool) bool {
	last, latest := mv.Status.Workflow, cmp.Or(mv.Status.LatestAttemptTime, mv.Status.StartTime)
	return last != nil && last.UID != string(wf.UID) && (changed || !wf.CreationTimestamp.Before(latest))
}

// forget forgets a ModelVersion that was deleted.
func (w *workflowReader) forget(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seen, key)
}

// withoutContent returns a Workflow of which only the metadata is known, and the
// phase that Argo's label repeats.
func withoutContent(object metav1.PartialObjectMetadata) *wfv1.Workflow {
	wf := &wfv1.Workflow{ObjectMeta: object.ObjectMeta}
	wf.Status.Phase = wfv1.WorkflowPhase(object.Labels[labelPhase])
	return wf
}

// workflows returns the Workflows that the ModelVersion controls and that are not
// being deleted, with their content where it matters, and the one that the status
// names if it is invalid.
func (r *ModelVersionReconciler) workflows(ctx context.Context, argo client.Reader, mv *v1alpha1.ModelVersion) ([]*wfv1.Workflow, *lifecycle.InvalidWorkflow, error) {
	list := metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(argoKinds[0].GroupVersion().WithKind("WorkflowList"))
	if err := argo.List(ctx, &list, client.InNamespace(mv.Namespace), client.MatchingFields{indexOwner: string(mv.UID)}); err != nil {
		return nil, nil, fmt.Errorf("list Workflows: %w", err)
	}
	relevant := r.reader.relevant(mv, list.Items)
	workflows, invalid, err := r.reader.read(ctx, mv, relevant)
	if err != nil {
		return nil, nil, err
	}
	for _, object := range list.Items {
		if !relevant[object.Name] && object.DeletionTimestamp.IsZero() {
			workflows = append(workflows, withoutContent(object))
		}
	}
	return workflows, invalid, nil
}

// read reads the Workflows with these names, whether or not the cache has them: one
// that was just created would otherwise look like one that was deleted.
func (w *workflowReader) read(ctx context.Context, mv *v1alpha1.ModelVersion, names map[string]bool) ([]*wfv1.Workflow, *lifecycle.InvalidWorkflow, error) {
	var workflows []*wfv1.Workflow
	var invalid *lifecycle.InvalidWorkflow
	budget := maxPassValues
	for _, name := range readingOrder(mv, names) {
		wf, err := w.getWithin(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: name}, &budget)
		var broken errInvalidWorkflow
		switch {
		case errors.As(err, &broken):
			// Any other one that is invalid builds nothing.
			if last := mv.Status.Workflow; last != nil && last.Name == name {
				invalid = &lifecycle.InvalidWorkflow{Name: name, Message: broken.Error()}
			}
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, nil, fmt.Errorf("get Workflow %q: %w", name, err)
		case wf.DeletionTimestamp.IsZero() && metav1.IsControlledBy(wf, mv):
			workflows = append(workflows, wf)
		}
	}
	return workflows, invalid, nil
}

// readingOrder returns names in their order, after the one that the status names:
// the others must not use up its budget.
func readingOrder(mv *v1alpha1.ModelVersion, names map[string]bool) []string {
	order := slices.Sorted(maps.Keys(names))
	if last := mv.Status.Workflow; last != nil && names[last.Name] {
		order = slices.DeleteFunc(order, func(name string) bool { return name == last.Name })
		order = slices.Insert(order, 0, last.Name)
	}
	return order
}
