//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newDirectory(t)
	// Each file is a layer, and Kaniko compresses one before it copies the
	// next.
	for _, name := range []string{"a.bin", "b.bin", "c.bin", "d.bin"} {
		dir.sparse(t, name, 1<<30)
	}
	mv := makeVersion("long", ns, dir).New()
	live.create(t, mv)
	changes, err := live.Watch(t.Context(), &v1alpha1.ModelVersionList{}, client.InNamespace(ns), client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", mv.Name)})
	require.NoError(t, err)
	t.Cleanup(changes.Stop)

	updates := progressUpdates(t, changes)

	require.NotEmpty(t, updates)
	for i, each := range updates {
		assert.NotEmpty(t, each.Message)
		if i > 0 {
			assert.GreaterOrEqual(t, each.Workflow.ProgressTime.Sub(updates[i-1].Workflow.ProgressTime.Time), 9*time.Second, "both are whole seconds")
			assert.Greater(t, *each.Workflow.ProgressPercent, *updates[i-1].Workflow.ProgressPercent)
		}
		t.Logf("figure: %s", each.Message)
	}
	wf := live.workflow(t, live.ready(t, mv))
	assert.Regexp(t, `^\d{10}/\d{10}$`, string(wf.Status.Progress), "Argo's UI shows bytes")
}

// progressUpdates returns the statuses in which a ModelVersion reports new
// progress, until its build has succeeded.
func progressUpdates(t *testing.T, changes watch.Interface) []v1alpha1.ModelVersionStatus {
	t.Helper()
	var updates []v1alpha1.ModelVersionStatus
	end := time.After(buildTime)
	for {
		select {
		case <-end:
			require.Fail(t, "the build does not end")
		case change := <-changes.ResultChan():
			mv, ok := change.Object.(*v1alpha1.ModelVersion)
			require.True(t, ok, "%v", change.Object)
			if mv.Status.ImageBuildPhase == v1alpha1.ImageBuildSucceeded {
				return updates
			}
			if mv.Status.Workflow == nil || mv.Status.Workflow.ProgressPercent == nil {
				continue
			}
			if len(updates) == 0 || !updates[len(updates)-1].Workflow.ProgressTime.Equal(mv.Status.Workflow.ProgressTime) {
				updates = append(updates, mv.Status)
			}
		}
	}
}
