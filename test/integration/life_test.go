package integration

import (
	"fmt"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/translate"
)

// The version that most of these tests are about.
const resnet = "resnet-1"

func TestAVersionFollowsItsWorkflow(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("through a build that succeeds", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)

		wf := s.argo.awaitOnlyWorkflow()
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.Equal(t, inProgress, states(mv))
		assert.Equal(t, v1alpha1.ImageBuilding, mv.Status.ImageBuildPhase)
		assert.Equal(t, argument(wf, translate.ParamImage), mv.Status.Image)
		assert.Equal(t, "node-1", mv.Status.NodeName)
		assert.Equal(t, int64(1), mv.Status.Attempts)

		s.argo.postpones(wf, "Waiting for default/Mutex/modelhub lock. Lock status: 0/1")
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			s.get(c, resnet, mv)
			assert.Contains(c, mv.Status.Message, "Waiting for default/Mutex/modelhub lock")
		}, deadline, tick)

		s.argo.runs(wf, translate.StepMountCheck)
		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		assert.Equal(t, inProgress, states(mv))
		assert.Equal(t, fmt.Sprintf("Workflow %s runs step mount-check", wf.Name), mv.Status.Message)

		s.argo.runs(wf, translate.StepBuild)
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			s.get(c, resnet, mv)
			assert.Equal(c, fmt.Sprintf("Workflow %s runs step build", wf.Name), mv.Status.Message)
		}, deadline, tick)

		wf = s.argo.succeeds(wf)
		mv = s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		assert.Equal(t, ready, states(mv))
		assert.Equal(t, v1alpha1.ImageBuildSucceeded, mv.Status.ImageBuildPhase)
		assert.Equal(t, digest, mv.Status.Digest)
		assert.Equal(t, digest[len("sha256:"):][:12], mv.Status.ShortDigest)
		assert.Equal(t, int64(3), mv.Status.Files)
		assert.Equal(t, int64(50<<20), mv.Status.SizeBytes)
		assert.Equal(t, int64(30<<20), mv.Status.ImageSizeBytes)
		assert.True(t, wf.Status.FinishedAt.Equal(mv.Status.FinishTime), "finished at %v, not %v", wf.Status.FinishedAt, mv.Status.FinishTime)
		assert.Equal(t, mv.Generation, mv.Status.ObservedGeneration)
		assert.Equal(t, v1alpha1.WorkflowStatus{Name: wf.Name, UID: string(wf.UID), Phase: "Succeeded", Generation: 1}, *mv.Status.Workflow)
		s.awaitLatest("resnet", &v1alpha1.LatestVersion{ModelVersion: resnet, ImageName: mv.Status.Image, Digest: digest})
	})

	t.Run("to a step's failure, and says what to do", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)
		wf := s.argo.awaitOnlyWorkflow()

		s.argo.fails(wf, translate.StepMountCheck, v1alpha1.ReasonSourceEmpty, "The folder /models/resnet/1 holds no file.")

		mv := s.awaitReason(resnet, v1alpha1.ReasonSourceEmpty)
		assert.Equal(t, stalled, states(mv))
		assert.Equal(t, v1alpha1.ImageBuildFailed, mv.Status.ImageBuildPhase)
		assert.NotNil(t, mv.Status.FinishTime)
		assert.Contains(t, mv.Status.Message, "The folder /models/resnet/1 holds no file")
		assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
		assert.Nil(t, s.model("resnet").Status.LatestVersion)
	})

	t.Run("to a failure whose reason is no word of the API", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)
		wf := s.argo.awaitOnlyWorkflow()

		s.argo.fails(wf, "image scan", "found 3 problems!", "CVE-2026-1, CVE-2026-2 and CVE-2026-3")

		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowFailed)
		assert.Equal(t, stalled, states(mv))
		assert.Contains(t, mv.Status.Message, "Step image scan: CVE-2026-1, CVE-2026-2 and CVE-2026-3")
	})

	t.Run("to a failure in many words of another script, and an event says as much as it may", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)
		wf := s.argo.awaitOnlyWorkflow()

		s.argo.fails(wf, translate.StepBuild, v1alpha1.ReasonBuildFailed, strings.Repeat("モデルがない ", 400))

		mv := s.awaitReason(resnet, v1alpha1.ReasonBuildFailed)
		got := s.awaitEvent(v1alpha1.ReasonBuildFailed)
		assert.Equal(t, mv.UID, got.Regarding.UID)
		assert.Equal(t, corev1.EventTypeWarning, got.Type)
		assert.Equal(t, "Build", got.Action)
		assert.Contains(t, got.Note, "モデルがない")
		assert.True(t, strings.HasPrefix(mv.Status.Message, strings.TrimSuffix(got.Note, "…")), "the event says %q", got.Note)
	})

	t.Run("to a success that nothing proves", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)
		wf := s.argo.awaitOnlyWorkflow()

		s.argo.endsWithoutReport(wf, wfv1.WorkflowSucceeded, "")

		mv := s.awaitReason(resnet, v1alpha1.ReasonReportInvalid)
		assert.Equal(t, stalled, states(mv))
		assert.Nil(t, s.model("resnet").Status.LatestVersion)
	})

	t.Run("that is retried", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)
		wf := s.argo.awaitOnlyWorkflow()
		s.argo.fails(wf, translate.StepStatusReport, v1alpha1.ReasonRegistryUnreachable, "registry.example.com does not answer")
		s.awaitReason(resnet, v1alpha1.ReasonRegistryUnreachable)

		wf = s.argo.retry(wf)
		mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		assert.Equal(t, inProgress, states(mv))
		assert.Nil(t, mv.Status.FinishTime)
		assert.True(t, wf.Status.StartedAt.Equal(mv.Status.StartTime))

		s.argo.succeeds(wf)
		mv = s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		assert.Equal(t, wf.Name, mv.Status.Workflow.Name)
		assert.Equal(t, int64(1), mv.Status.Attempts)
		assert.Len(t, s.argo.workflows(), 1)
	})

	t.Run("that is resubmitted, by a person who may only make Workflows", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)
		first := s.argo.awaitOnlyWorkflow()
		s.argo.fails(first, translate.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
		s.awaitReason(resnet, v1alpha1.ReasonBuildFailed)

		second := s.argo.resubmit(workflowAuthor(t, s.namespace), first)
		mv := s.awaitFollows(resnet, second, "")
		assert.Equal(t, inProgress, states(mv))

		s.argo.succeeds(second)
		mv = s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		assert.Equal(t, second.Name, mv.Status.Workflow.Name)
		assert.Equal(t, int64(1), mv.Status.Attempts, "a resubmit is no attempt of the operator's")
		assert.Len(t, s.argo.workflows(), 2)
	})

	t.Run("that is resubmitted while it runs, to the newer one", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)
		first := s.argo.awaitOnlyWorkflow()
		s.argo.runs(first, translate.StepBuild)
		second := s.argo.resubmit(s.client, first)
		s.argo.write(second, func(now *wfv1.Workflow) { now.Status.StartedAt = secondAfter(first.CreationTimestamp) })
		s.argo.runs(second, translate.StepMountCheck)
		s.awaitFollows(resnet, second, wfv1.WorkflowRunning)

		s.argo.fails(first, translate.StepBuild, v1alpha1.ReasonBuildFailed, "killed")
		s.argo.succeeds(second)

		mv := s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		assert.Equal(t, second.Name, mv.Status.Workflow.Name)
	})

	t.Run("to nowhere once it has succeeded", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)
		wf := s.argo.awaitOnlyWorkflow()
		s.argo.succeeds(wf)
		want := s.awaitReason(resnet, v1alpha1.ReasonSucceeded).Status

		again := s.argo.resubmit(s.client, wf)
		s.argo.fails(again, translate.StepMountCheck, v1alpha1.ReasonSourceChanged, "the files have changed")
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.Build = &v1alpha1.Build{BaseImage: "scratch"} })
		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		require.NoError(t, s.client.DeleteAllOf(t.Context(), &wfv1.Workflow{}, client.InNamespace(s.namespace)))
		op.settles(t, shared)

		got := s.version(resnet).Status
		assert.Equal(t, int64(2), got.ObservedGeneration)
		assert.Equal(t, digest, got.Digest)
		assert.Equal(t, want.Workflow, got.Workflow)
		assert.Equal(t, v1alpha1.ImageBuildSucceeded, got.ImageBuildPhase)
		assert.Empty(t, s.argo.workflows())
	})
}

// workflowAuthor is a client of a person who may make Workflows and nothing
// else: not touch the finalizers of what owns them.
func workflowAuthor(t *testing.T, namespace string) client.Client {
	t.Helper()
	return shared.clientWith(t, namespace, "author", []rule{{groups: "argoproj.io", resources: "workflows", verbs: "create"}})
}

// rebuildCommand is what a message tells people to run for a new attempt.
func rebuildCommand(mv *v1alpha1.ModelVersion) string {
	return fmt.Sprintf(`kubectl annotate mv -n %s %s model.kubedl.io/rebuild="$(date +%%s)" --overwrite`, mv.Namespace, mv.Name)
}

func TestAnAttemptIsMadeAnew(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("when an unfinished Workflow is deleted, three times in a row", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		mv := s.apply(localVersion)
		for attempt := int64(1); attempt <= 4; attempt++ {
			wf := s.argo.awaitWorkflow(translate.WorkflowName(mv.Name, mv.UID, attempt))
			s.awaitFollows(resnet, wf, "")
			if attempt%2 == 0 {
				s.argo.runs(wf, translate.StepBuild)
			}
			require.NoError(t, s.client.Delete(t.Context(), wf))
		}

		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowDeleted)
		assert.Equal(t, stalled, states(mv))
		assert.Equal(t, int64(4), mv.Status.Attempts)
		assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
		assert.Empty(t, s.argo.workflows())

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "again")
		wf := s.argo.awaitWorkflow(translate.WorkflowName(mv.Name, mv.UID, 5))
		mv = s.awaitFollows(resnet, wf, "")
		assert.Equal(t, int64(0), mv.Status.Workflow.Restarts, "a person's wish begins a new count")
	})

	t.Run("not when a Workflow that failed is deleted", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion)
		wf := s.argo.awaitOnlyWorkflow()
		s.argo.fails(wf, translate.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		want := s.awaitReason(resnet, v1alpha1.ReasonSourceEmpty).Status

		require.NoError(t, s.client.Delete(t.Context(), wf))
		op.awaitLookup(t, s.namespace, wf.Name)
		op.settles(t, shared)

		assert.Empty(t, s.argo.workflows())
		assert.Equal(t, want, s.version(resnet).Status)
	})

	t.Run("when build is edited on a version that failed, with the new settings", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		mv := s.apply(localVersion)
		first := s.argo.awaitOnlyWorkflow()
		s.argo.fails(first, translate.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")
		s.awaitReason(resnet, v1alpha1.ReasonBuildFailed)

		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.Build = &v1alpha1.Build{BaseImage: "scratch"} })

		second := s.argo.awaitWorkflow(translate.WorkflowName(mv.Name, mv.UID, 2))
		assert.Equal(t, "scratch", argument(second, translate.ParamBaseImage))
		mv = s.awaitFollows(resnet, second, "")
		assert.Equal(t, int64(2), mv.Status.Attempts)
		assert.Equal(t, mv.Generation, mv.Status.Workflow.Generation)
		s.argo.succeeds(second)
		s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
	})

	t.Run("when build is edited while it runs, once that has failed", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		mv := s.apply(localVersion)
		first := s.argo.awaitOnlyWorkflow()
		s.argo.runs(first, translate.StepBuild)
		s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
		s.edit(resnet, func(mv *v1alpha1.ModelVersion) { mv.Spec.Build = &v1alpha1.Build{BaseImage: "scratch"} })
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			s.get(c, resnet, mv)
			assert.Equal(c, mv.Generation, mv.Status.ObservedGeneration)
		}, deadline, tick)
		require.Len(t, s.argo.workflows(), 1)

		s.argo.fails(first, translate.StepBuild, v1alpha1.ReasonBuildFailed, "no space left on device")

		second := s.argo.awaitWorkflow(translate.WorkflowName(mv.Name, mv.UID, 2))
		assert.Equal(t, "scratch", argument(second, translate.ParamBaseImage))
	})

	t.Run("when the rebuild annotation changes, and not when others do", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		mv := s.apply(localVersion)
		first := s.argo.awaitOnlyWorkflow()
		s.argo.fails(first, translate.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		s.awaitReason(resnet, v1alpha1.ReasonSourceEmpty)
		s.annotate(resnet, "example.com/note", "seen")
		op.settles(t, shared)
		require.Len(t, s.argo.workflows(), 1)

		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1763800000")

		second := s.argo.awaitWorkflow(translate.WorkflowName(mv.Name, mv.UID, 2))
		mv = s.awaitFollows(resnet, second, "")
		assert.Equal(t, "1763800000", mv.Status.Workflow.Rebuild)
		s.argo.fails(second, translate.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		s.awaitReason(resnet, v1alpha1.ReasonSourceEmpty)
		op.settles(t, shared)
		assert.Len(t, s.argo.workflows(), 2, "one wish, one attempt")
	})

	t.Run("when the rebuild annotation is longer than a status takes", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		mv := s.apply(localVersion)
		first := s.argo.awaitOnlyWorkflow()
		s.argo.fails(first, translate.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		s.awaitReason(resnet, v1alpha1.ReasonSourceEmpty)

		s.annotate(resnet, v1alpha1.AnnotationRebuild, letters(4000))

		second := s.argo.awaitWorkflow(translate.WorkflowName(mv.Name, mv.UID, 2))
		s.awaitFollows(resnet, second, "")
		s.argo.fails(second, translate.StepMountCheck, v1alpha1.ReasonSourceEmpty, "nothing there")
		s.awaitReason(resnet, v1alpha1.ReasonSourceEmpty)
		op.settles(t, shared)
		assert.Len(t, s.argo.workflows(), 2, "one wish, one attempt")
	})

	t.Run("with a longer tag when the automatic one is taken", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		mv := s.apply(localVersion)
		digits := hexDigits(mv)
		for i, length := range []int{5, 8, 16, 32} {
			wf := s.argo.awaitWorkflow(translate.WorkflowName(mv.Name, mv.UID, int64(i+1)))
			want := "modelhub/resnet:v" + digits[:length]
			assert.Equal(t, want, argument(wf, translate.ParamImage))
			mv = s.awaitFollows(resnet, wf, "")
			assert.Equal(t, want, mv.Status.Image)
			s.argo.fails(wf, translate.StepMountCheck, v1alpha1.ReasonTagTaken, "the tag holds another image")
		}
		mv = s.awaitReason(resnet, v1alpha1.ReasonTagTaken)
		assert.Equal(t, stalled, states(mv))
		assert.Contains(t, mv.Status.Message, "create a new ModelVersion with an imageTag")
		op.settles(t, shared)
		assert.Len(t, s.argo.workflows(), 4)
	})

	t.Run("not when a tag that a person chose is taken", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion, set("spec.imageTag", "v1.0"))
		wf := s.argo.awaitOnlyWorkflow()
		s.argo.fails(wf, translate.StepMountCheck, v1alpha1.ReasonTagTaken, "modelhub/resnet:v1.0 holds another image")

		mv := s.awaitReason(resnet, v1alpha1.ReasonTagTaken)
		op.settles(t, shared)
		assert.Contains(t, mv.Status.Message, "modelhub/resnet:v1.0 holds another image")
		assert.Len(t, s.argo.workflows(), 1)
	})
}

func TestAVersionThatCannotStartSaysWhy(t *testing.T) {
	op := startOperator(t, shared)

	t.Run("its host path is denied", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		s.apply(localVersion, set(localPath, "/etc/kubernetes"))

		mv := s.awaitReason(resnet, v1alpha1.ReasonSourceForbidden)
		assert.Equal(t, stalled, states(mv))
		assert.Contains(t, mv.Status.Message, "/etc/kubernetes is never packaged, because it is inside /etc")
		assert.Empty(t, s.argo.workflows())
	})

	t.Run("its storage kind is not built yet", func(t *testing.T) {
		t.Parallel()
		for name, manifest := range map[string]string{"nfs": nfsVersion, "AWSEfs": efsVersion} {
			s := newScene(t, shared)
			s.apply(manifest)
			mv := s.awaitReason(resnet, v1alpha1.ReasonStorageKindUnsupported)
			assert.Equal(t, stalled, states(mv))
			assert.Contains(t, mv.Status.Message, fmt.Sprintf("Storage kind %s is not supported yet: use localStorage or persistentVolumeClaim", name))
			assert.Empty(t, s.argo.workflows())
		}
	})

	t.Run("its template is missing, and it goes on when that appears", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		name := s.namespace // Templates have no namespace, so this is a name of its own.
		s.apply(localVersion, build("workflowTemplate", name))
		mv := s.awaitReason(resnet, v1alpha1.ReasonTemplateMissing)
		assert.Equal(t, waiting, states(mv))
		assert.Equal(t, v1alpha1.ImageBuilding, mv.Status.ImageBuildPhase)
		assert.Empty(t, s.argo.workflows())

		s.template(name)

		wf := s.argo.awaitOnlyWorkflow()
		assert.Equal(t, name, wf.Spec.WorkflowTemplateRef.Name)
		s.argo.succeeds(wf)
		s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
	})

	t.Run("a quota is used up, and it goes on when there is more", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		const counted = "count/workflows.argoproj.io"
		quota := &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "few"},
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{counted: resource.MustParse("0")}},
		}
		require.NoError(t, s.client.Create(t.Context(), quota))
		// No controller counts here.
		quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{counted: resource.MustParse("0")}}
		require.NoError(t, s.client.Status().Update(t.Context(), quota))
		s.apply(localVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonRefused)
		assert.Equal(t, waiting, states(mv))
		assert.Contains(t, mv.Status.Message, "exceeded quota: few, requested: count/workflows.argoproj.io=1, used: count/workflows.argoproj.io=0, limited: count/workflows.argoproj.io=0")
		assert.Empty(t, s.argo.workflows())

		require.NoError(t, s.client.Delete(t.Context(), quota))
		s.argo.succeeds(s.argo.awaitOnlyWorkflow())
		mv = s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		assert.Equal(t, int64(1), mv.Status.Attempts)
	})

	t.Run("the namespace has a binding of that name to another role", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		require.NoError(t, s.client.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: translate.BuildServiceAccount},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		}))
		s.apply(localVersion)

		mv := s.awaitReason(resnet, v1alpha1.ReasonRefused)
		assert.Equal(t, waiting, states(mv))
		assert.Contains(t, mv.Status.Message, "cannot change roleRef")
	})

	t.Run("a Workflow of its name is somebody else's", func(t *testing.T) {
		t.Parallel()
		s := newScene(t, shared)
		// The first attempt's name is known only when the version is there.
		s.apply(localVersion, build("workflowTemplate", s.namespace))
		mv := s.awaitReason(resnet, v1alpha1.ReasonTemplateMissing)
		theirs := &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: translate.WorkflowName(mv.Name, mv.UID, 1)}}
		require.NoError(t, s.client.Create(t.Context(), theirs))
		s.template(s.namespace)

		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowNameConflict)
		assert.Equal(t, stalled, states(mv))
		assert.Contains(t, mv.Status.Message, fmt.Sprintf("kubectl delete wf -n %s %s", s.namespace, theirs.Name))
		assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
		op.settles(t, shared)
		assert.Nil(t, s.version(resnet).Status.Workflow)

		require.NoError(t, s.client.Delete(t.Context(), theirs))
		s.annotate(resnet, v1alpha1.AnnotationRebuild, "1")
		mv = s.awaitReason(resnet, v1alpha1.ReasonWorkflowPending)
		assert.True(t, metav1.IsControlledBy(s.argo.awaitOnlyWorkflow(), mv))
	})
}

func TestAMissingHostPathEndsTheWorkflow(t *testing.T) {
	op := startOperator(t, shared)
	s := newScene(t, shared)
	s.apply(localVersion)
	wf := s.argo.awaitOnlyWorkflow()
	s.argo.runs(wf, translate.StepMountCheck)
	pod := s.argo.startsPod(wf)
	s.kubelet.event(pod, "FailedMount", "MountVolume.SetUp failed for volume \"push-secret\" : failed to sync secret cache")
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	before := op.wire.changes(s.namespace)

	s.kubelet.cannotMount(pod, "/models/resnet/1")

	mv := s.awaitReason(resnet, v1alpha1.ReasonSourceMissing)
	assert.Equal(t, stalled, states(mv))
	assert.Contains(t, mv.Status.Message, "Node node-1 has no folder /models/resnet/1")
	assert.Contains(t, mv.Status.Message, rebuildCommand(mv))
	want := mv.Status.Message
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		s.get(c, wf.Name, wf)
		assert.Equal(c, wfv1.ShutdownStrategyTerminate, wf.Spec.Shutdown)
	}, deadline, tick)
	assert.Equal(t, wfv1.WorkflowRunning, wf.Status.Phase, "the status in the same object is Argo's and stays")
	op.settles(t, shared)
	assert.Equal(t, []string{"patch modelversions/status", "patch workflows"}, op.wire.changes(s.namespace)[len(before):])

	// Argo deletes the pod, and writes into a Workflow that still runs, before
	// that has ended.
	require.NoError(t, s.client.Delete(t.Context(), pod))
	s.get(t, pod.Name, pod)
	s.argo.runs(wf, translate.StepMountCheck)
	op.settles(t, shared)
	assert.Equal(t, v1alpha1.ReasonSourceMissing, readyReason(s.version(resnet)))

	s.argo.endsWithoutReport(wf, wfv1.WorkflowFailed, "Stopped with strategy 'Terminate'")
	mv = s.awaitFollows(resnet, wf, wfv1.WorkflowFailed)
	assert.Equal(t, v1alpha1.ReasonSourceMissing, readyReason(mv))
	assert.Equal(t, want, mv.Status.Message)

	// A person's retry is a new run, which the pod that it replaces has no say
	// in, and what ends that run is theirs.
	wf = s.argo.retry(wf)
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)
	op.settles(t, shared)
	s.get(t, wf.Name, wf)
	assert.Empty(t, wf.Spec.Shutdown)
	s.argo.endsWithoutReport(wf, wfv1.WorkflowFailed, "Stopped with strategy 'Terminate'")
	s.awaitReason(resnet, v1alpha1.ReasonWorkflowTerminated)
}
