package command

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// fresh reads a ModelVersion again.
func fresh(t *testing.T, mv *v1alpha1.ModelVersion) *v1alpha1.ModelVersion {
	t.Helper()
	require.NoError(t, server.Get(t.Context(), client.ObjectKeyFromObject(mv), mv))
	return mv
}

// inBackground runs a command as the editor until it ends.
func inBackground(t *testing.T, namespace string, args ...string) (out, complaint *buffer, ended chan int) {
	t.Helper()
	out, complaint, ended = &buffer{}, &buffer{}, make(chan int, 1)
	go func() { ended <- callWith(t.Context(), editor, namespace, out, complaint, args...) }()
	return out, complaint, ended
}

func awaitCode(t *testing.T, ended chan int) int {
	t.Helper()
	select {
	case code := <-ended:
		return code
	case <-time.After(deadline):
		require.Fail(t, "the command does not end")
		return 0
	}
}

func shows(t *testing.T, b *buffer, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(b.String(), text) }, deadline, 10*time.Millisecond, "%s is not in:\n%s", text, b)
}

func TestWait(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	mv := newVersion(t, ns, "mv-8", v1alpha1.ModelVersionStatus{})
	out, complaint, ended := inBackground(t, ns, "wait", "mv-8")
	shows(t, complaint, "Unknown\n")
	setStatus(t, mv, buildingStatus("mv-8-1c072-1", 62))
	shows(t, complaint, "Building  62%  31.0% a minute  about 1m1")
	setStatus(t, mv, readyStatus())
	assert.Equal(t, exitOK, awaitCode(t, ended))
	assert.Equal(t, "mv-8 is ready: registry.example.com/models/resnet:v1c072@"+digest+"\n", out.String())
}

// The rate is that of the copy, and not of what came before it.
func TestWait_bytes(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	mv := newVersion(t, ns, "mv-8", v1alpha1.ModelVersionStatus{})
	newWorkflow(t, mv, 1, map[string]any{"phase": "Running", "nodes": map[string]any{
		"a": map[string]any{"id": "a", "name": "a", "type": "Pod", "phase": "Running", "progress": fmt.Sprintf("%d/%d", 1<<30, 10<<30)},
	}})
	now := time.Now()
	status := func(percent int32, since time.Duration) v1alpha1.ModelVersionStatus {
		s := buildingStatus("mv-8-1c072-1", percent)
		s.StartTime = ago(time.Hour)
		s.Workflow.ProgressTime = &metav1.Time{Time: now.Add(-since)}
		return s
	}
	setStatus(t, mv, status(10, 100*time.Second))
	_, complaint, ended := inBackground(t, ns, "wait", "mv-8")
	shows(t, complaint, "Building  10%  about 1.0 GiB of 10.0 GiB  ")
	setStatus(t, mv, status(60, 0))
	shows(t, complaint, "Building  60%  about 6.0 GiB of 10.0 GiB  51.2 MiB/s  about 1m")
	setStatus(t, mv, readyStatus())
	assert.Equal(t, exitOK, awaitCode(t, ended))
}

func TestEstimate(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := map[string]struct {
		from, to sample
		total    int64
		want     string
	}{
		"of percent":         {sample{0, start}, sample{50, start.Add(time.Minute)}, 0, "50.0% a minute  about 50s left"},
		"of bytes":           {sample{40, start}, sample{50, start.Add(time.Minute)}, 600 << 20, "1.0 MiB/s  about 4m50s left"},
		"longer than it was": {sample{0, start}, sample{99, start.Add(time.Minute)}, 0, "99.0% a minute  about 0s left"},
		"without a start":    {sample{}, sample{50, start}, 0, ""},
		"without progress":   {sample{50, start}, sample{50, start.Add(time.Minute)}, 0, ""},
		"at the same time":   {sample{10, start}, sample{50, start}, 0, ""},
		"backwards":          {sample{60, start}, sample{50, start.Add(time.Minute)}, 0, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, estimate(tt.from, tt.to, tt.total, tt.to.time.Add(10*time.Second)))
		})
	}
}

// A line that is rewritten takes one row of a terminal of 80 columns.
func TestProgress_width(t *testing.T) {
	complaint := &buffer{}
	line := &progress{kiln: &kiln{IOStreams: genericiooptions.IOStreams{ErrOut: complaint}}, rewrites: true}
	line.show("Waiting  " + strings.Repeat("ä", 200))
	line.show("Building  100%  about 1023.9 GiB of 1023.9 GiB  1023.9 MiB/s  about 100h30m59s left")
	line.show("short")
	rows := strings.Split(complaint.String(), "\r")[1:]
	require.Len(t, rows, 3)
	for _, row := range rows {
		assert.LessOrEqual(t, utf8.RuneCountInString(row), 79, row)
	}
	assert.Equal(t, "short"+strings.Repeat(" ", 74), rows[2], "nothing of the line before is left")
}

func TestWait_failed(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	mv := newVersion(t, ns, "mv-5", buildingStatus("mv-5-1c072-1", 3))
	out, complaint, ended := inBackground(t, ns, "wait", "mv-5")
	shows(t, complaint, "Building")
	setStatus(t, mv, failedStatus("mv-5-1c072-1"))
	assert.Equal(t, exitFailed, awaitCode(t, ended))
	assert.Empty(t, out.String())
	assert.Equal(t, "error: mv-5 is not built: SourceIncomplete: Step mount-check: model-00003-of-00005.safetensors has 2,113,929,216 of 4,999,802,720 bytes", lastLine(complaint.String()))
}

func TestWait_deleted(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	mv := newVersion(t, ns, "mv-5", buildingStatus("mv-5-1c072-1", 3))
	_, complaint, ended := inBackground(t, ns, "wait", "mv-5")
	shows(t, complaint, "Building")
	require.NoError(t, server.Delete(t.Context(), mv))
	assert.Equal(t, exitFailed, awaitCode(t, ended))
	assert.Equal(t, "error: ModelVersion mv-5 was deleted", lastLine(complaint.String()))
}

func TestWait_timeout(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-5", buildingStatus("mv-5-1c072-1", 3))
	assert.Contains(t, fails(t, ns, "wait", "mv-5", "--timeout", "500ms"), "error: ModelVersion mv-5 has not finished within 500ms: its state is shown by kubectl kiln why mv-5 -n "+ns)
}

func TestRetry_wait(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	mv := newVersion(t, ns, "mv-5", failedStatus("mv-5-1c072-1"))
	out, complaint, ended := inBackground(t, ns, "retry", "mv-5", "--wait")
	shows(t, out, "requested")
	require.NoError(t, server.Get(t.Context(), client.ObjectKeyFromObject(mv), mv))
	status := buildingStatus("mv-5-1c072-2", 10)
	status.Workflow.Rebuild = mv.Annotations[v1alpha1.AnnotationRebuild]
	setStatus(t, mv, status)
	shows(t, complaint, "10%")
	status = readyStatus()
	status.Workflow.Rebuild = mv.Annotations[v1alpha1.AnnotationRebuild]
	setStatus(t, mv, status)
	assert.Equal(t, exitOK, awaitCode(t, ended), complaint)
	assert.NotContains(t, complaint.String(), "SourceIncomplete", "the failure before the request is not about it")
}

// A ModelVersion without an attempt has no status about the request, and says why.
func TestRetry_waitWithoutAttempt(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	status := failedStatus("")
	status.Workflow = nil
	mv := newVersion(t, ns, "mv-5", status)
	assert.Contains(t, fails(t, ns, "retry", "mv-5", "--wait"), "error: mv-5 is not built: SourceIncomplete: ")

	setStatus(t, fresh(t, mv), v1alpha1.ModelVersionStatus{})
	out, complaint, ended := inBackground(t, ns, "retry", "mv-5", "--wait", "-o", "name")
	shows(t, complaint, "Unknown")
	status = readyStatus()
	status.Workflow.Rebuild = fresh(t, mv).Annotations[v1alpha1.AnnotationRebuild]
	setStatus(t, mv, status)
	assert.Equal(t, exitOK, awaitCode(t, ended), complaint)
	assert.Equal(t, "modelversion.model.kubedl.io/mv-5\n", out.String(), "with -o, the output has objects only")
	assert.Contains(t, complaint.String(), "mv-5 is ready: ")
}
