package translate

import (
	"fmt"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// withProgress adds to what is done about a running build how far it is. What
// was told a moment ago is kept, and the rest told later.
func withProgress(o Observed, wf *wfv1.Workflow, step Step, opts Options) Step {
	build := stepNode(wf, contract.StepBuild)
	percent, found := progress(wf)
	if !found || build == nil || build.Phase != wfv1.NodeRunning {
		return step
	}
	told := step.Status.Workflow
	told.ProgressPercent, told.ProgressTime = &percent, ptr.To(*o.Now.DeepCopy())
	if last := o.Version.Status.Workflow; last != nil && last.UID == told.UID && last.ProgressPercent != nil && last.ProgressTime != nil {
		left := opts.ProgressInterval.Duration - o.Now.Sub(last.ProgressTime.Time)
		switch {
		case *last.ProgressPercent == percent:
			told.ProgressTime = last.ProgressTime
		case left > 0:
			told.ProgressPercent, told.ProgressTime = last.ProgressPercent, last.ProgressTime
			step.Again = metav1.Duration{Duration: left}
		}
	}
	message := fmt.Sprintf("%s. It has copied %d %% of the model", step.Status.Message, *told.ProgressPercent)
	step.Status = buildingStatus(o.Version, step.Status, Outcome{Reason: reasonOf(step.Status), Message: message})
	return step
}

// progress is what the latest pod of a Workflow says of itself, in percent;
// false when it says nothing. Argo takes 0/1 for a pod that does not.
func progress(wf *wfv1.Workflow) (percent int32, found bool) {
	for _, node := range latestNodes(wf) {
		if node.Type != wfv1.NodeTypePod || node.Phase != wfv1.NodeRunning {
			continue
		}
		// Argo's own parser of it panics when there is no slash.
		done, total, _ := strings.Cut(string(node.Progress), "/")
		if n, m := number(done), number(total); m > 1 && n <= m {
			return int32(float64(n) / float64(m) * 100), true
		}
	}
	return 0, false
}
