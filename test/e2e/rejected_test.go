//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// publicDirectory is below a directory that is never packaged, and holds
// nothing secret should this test ever fail.
const publicDirectory = "/usr/share/common-licenses"

func TestBuildRejected(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	tests := map[string]struct {
		version func(t *testing.T, v *builders.ModelVersionWrapper)
		reason  string
		// contains is a part of the message, and next a part of what it says to
		// do.
		contains, next string
		// noWorkflow is whether no Workflow is created.
		noWorkflow bool
	}{
		"an empty directory": {
			version: func(t *testing.T, v *builders.ModelVersionWrapper) { v.LocalStorage(string(newDirectory(t)), nodeName) },
			reason:  v1alpha1.ReasonSourceEmpty, contains: models, next: v1alpha1.AnnotationRebuild,
		},
		"a system directory": {
			version:    func(_ *testing.T, v *builders.ModelVersionWrapper) { v.LocalStorage(publicDirectory, nodeName) },
			reason:     v1alpha1.ReasonSourceForbidden,
			contains:   publicDirectory,
			next:       "move the model to its own directory",
			noWorkflow: true,
		},
		"a symbolic link on the node to a system directory": {
			version: func(t *testing.T, v *builders.ModelVersionWrapper) {
				link := newDirectory(t).at("link")
				require.NoError(t, os.Symlink(publicDirectory, link))
				v.LocalStorage(link, nodeName)
			},
			reason: v1alpha1.ReasonSourceForbidden, contains: publicDirectory, next: "reate a new ModelVersion",
		},
		"a directory below a symbolic link to a system directory": {
			version: func(t *testing.T, v *builders.ModelVersionWrapper) {
				link := newDirectory(t).at("link")
				require.NoError(t, os.Symlink("/usr/share", link))
				v.LocalStorage(link+"/common-licenses", nodeName)
			},
			reason: v1alpha1.ReasonSourceForbidden, contains: publicDirectory, next: "reate a new ModelVersion",
		},
		"a push secret that is named and absent": {
			version: func(_ *testing.T, v *builders.ModelVersionWrapper) { v.PushSecret("vision-push") },
			reason:  v1alpha1.ReasonPushSecretMissing, contains: "vision-push", next: v1alpha1.AnnotationRebuild,
		},
		"a registry that cannot be reached": {
			version: func(_ *testing.T, v *builders.ModelVersionWrapper) {
				v.ImageRepo("registry.invalid:5000/models/resnet")
			},
			reason: v1alpha1.ReasonRegistryUnreachable, contains: "registry.invalid:5000", next: v1alpha1.AnnotationRebuild,
		},
		"an NFS server that is not allowed": {
			version: func(_ *testing.T, v *builders.ModelVersionWrapper) {
				*v = *builders.MakeModelVersion(v.Obj().Name, ns).NFS("elsewhere.example.com", "/exports")
			},
			reason: v1alpha1.ReasonSourceForbidden, contains: "elsewhere.example.com:/exports", next: "platform team", noWorkflow: true,
		},
		"an Elastic File System that is not allowed": {
			version: func(_ *testing.T, v *builders.ModelVersionWrapper) {
				*v = *builders.MakeModelVersion(v.Obj().Name, ns).AWSEfs("fs-0123456789")
			},
			reason: v1alpha1.ReasonSourceForbidden, contains: "fs-0123456789", next: "platform team", noWorkflow: true,
		},
	}
	names := map[string]string{}
	for name := range tests {
		names[name] = "v" + content.Sum(name)[:8]
	}
	full := model(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			version := makeVersion(names[name], ns, full)
			tt.version(t, version)
			mv, took := live.failed(t, version.New())
			assertFailed(t, mv, tt.reason, tt.contains)
			assert.Contains(t, mv.Status.Message, tt.next)
			assert.Equal(t, tt.noWorkflow, mv.Status.Workflow == nil)
			t.Logf("figure: seen after %.1f s: %s", took.Seconds(), mv.Status.Message)
		})
	}
}

// assertFailed checks that a ModelVersion has failed for this reason, that all
// its fields and conditions agree, and that its message says what to do next.
func assertFailed(t *testing.T, mv *v1alpha1.ModelVersion, reason, contains string) {
	t.Helper()
	ready := conditionReady(mv)
	assert.Equal(t, reason, ready.Reason)
	assert.Contains(t, ready.Message, contains)
	assert.Equal(t, ready.Message, mv.Status.Message)
	assert.Regexp(t, `kubectl |reate a new ModelVersion|move the model|use localStorage`, ready.Message, "what to do next")
	stalled := meta.FindStatusCondition(mv.Status.Conditions, v1alpha1.ConditionStalled)
	assert.True(t, stalled != nil && stalled.Status == metav1.ConditionTrue, "Flux and Argo CD read Stalled")
	assert.Empty(t, mv.Status.Digest)
}

// No other test runs beside these, so that they measure the time until users
// see the message.
func TestSourceMissing(t *testing.T) {
	ns := live.namespace(t)
	dir := newDirectory(t)
	dir.write(t, "file", "content")
	tests := map[string]string{"a directory that does not exist": dir.at("nothing"), "a file": dir.at("file")}
	for name, path := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			version := makeVersion("v"+content.Sum(name)[:8], ns, directory(path)).New()
			mv, took := live.failed(t, version)
			assertFailed(t, mv, v1alpha1.ReasonSourceMissing, path)
			assert.Less(t, took, 30*time.Second)
			t.Logf("figure: seen after %.1f s: %s", took.Seconds(), mv.Status.Message)

			require.EventuallyWithT(t, func(collect *assert.CollectT) {
				var wf wfv1.Workflow
				require.NoError(collect, live.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: mv.Status.Workflow.Name}, &wf))
				assert.Equal(collect, wfv1.WorkflowFailed, wf.Status.Phase, "the Workflow ends")
			}, noticeTime, tick)
			assertFailed(t, live.refresh(t, mv), v1alpha1.ReasonSourceMissing, path)

			fixSource(t, path)
			t.Log(runCommand(t, mv.Status.Message))
			mv = live.readyAgain(t, mv)
			assertImage(t, mv, directory(path))
			assert.Equal(t, int64(2), mv.Status.Attempts)
			assert.Len(t, live.workflowsOf(t, mv), 2)
		})
	}
}

// fixSource puts a model where there was none.
func fixSource(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(path))
	directory(path).write(t, "model.bin", "weights")
}

// runCommand runs the command that a message ends with in a shell, as a user
// does.
func runCommand(t *testing.T, message string) string {
	t.Helper()
	begin := strings.Index(message, "kubectl ")
	require.GreaterOrEqual(t, begin, 0, "%q names no command", message)
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", message[begin:]).CombinedOutput()
	require.NoError(t, err, "%s: %s", message[begin:], out)
	return string(out)
}
