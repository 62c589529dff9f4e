package lifecycle

import (
	"fmt"
	"strconv"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// progress is how far a running build is, and since when the status reports it.
type progress struct {
	percent int32
	time    metav1.Time
}

// withProgress adds the progress of a running build to a verdict. Progress that
// was reported a moment ago is kept, and the new value is reported later.
func withProgress(o Observed, v verdict, opts workflow.Options) verdict {
	followed := runOf(o.Followed)
	build := followed.stepNode(contract.StepBuild)
	percent, found := followed.podProgress()
	if !found || build == nil || build.Phase != wfv1.NodeRunning {
		return v
	}
	v.progress = &progress{percent: percent, time: metav1.NewTime(o.Now)}
	last := o.Version.Status.Workflow
	if last != nil && last.UID == string(o.Followed.UID) && last.ProgressPercent != nil && last.ProgressTime != nil {
		left := opts.ProgressInterval - o.Now.Sub(last.ProgressTime.Time)
		switch {
		case *last.ProgressPercent == percent:
			v.progress.time = *last.ProgressTime
		// The clock of the replica that wrote the time may have been ahead.
		case left > 0 && left <= opts.ProgressInterval:
			v.progress = &progress{percent: *last.ProgressPercent, time: *last.ProgressTime}
			v.requeueAfter = left
		}
	}
	v.Message = fmt.Sprintf("%s. %d%% of the model copied", v.Message, v.progress.percent)
	return v
}

// podProgress returns the progress that the latest pod of a Workflow reports, in
// percent, and false when it reports none.
func (r run) podProgress() (percent int32, found bool) {
	done, total, found := r.podBytes()
	if !found {
		return 0, false
	}
	return int32(float64(done) / float64(total) * 100), true
}

// podBytes returns how many bytes of the model the running pod of a Workflow has copied,
// of how many, and false when it reports none. Argo shows such a pod as 0/1.
func (r run) podBytes() (done, total int64, found bool) {
	for _, node := range r.nodes {
		if node.Type != wfv1.NodeTypePod || node.Phase != wfv1.NodeRunning {
			continue
		}
		// Argo's own parser panics when there is no slash.
		first, second, _ := strings.Cut(string(node.Progress), "/")
		n, errDone := strconv.ParseInt(first, 10, 64)
		m, errTotal := strconv.ParseInt(second, 10, 64)
		if errDone == nil && errTotal == nil && m > 1 && n >= 0 && n <= m {
			return n, m, true
		}
	}
	return 0, 0, false
}
