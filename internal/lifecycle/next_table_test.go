package lifecycle_test

import (
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// A nextStepCase sets up a scenario, and says what the next pass must do.
type nextStepCase struct {
	given func(*scenario)
	want  wantStep
}

// A wantStep is what a pass must do. An empty field means that it does not take
// this action.
type wantStep struct {
	create, terminate string
	restarts          string
	image             string
	requeueAfter      time.Duration
	volume            bool
	// unchanged means that the status does not change. Otherwise the new status has
	// this phase and this reason, and its message contains this message.
	unchanged       bool
	phase           v1alpha1.ImageBuildPhase
	reason, message string
	nodeName        string
}

const (
	rebuildTail = `After fixing this, rebuild with: kubectl annotate mv -n default mv-3 model.kubedl.io/rebuild="$(date +%s)" --overwrite`
	againTail   = `To build again: kubectl annotate mv -n default mv-3 model.kubedl.io/rebuild="$(date +%s)" --overwrite`
	logsTail    = "To see its log: kubectl logs -n default -l workflows.argoproj.io/workflow=mv-3-1c072-1 --all-containers --tail=50"
	editTail    = "which starts a new attempt: kubectl edit mv -n default mv-3"
	image       = "modelhub/resnet:v1c072"
)

// creates returns the step that creates an attempt, and requeues for the time when
// Argo has not noticed it.
func creates(name string) wantStep {
	return wantStep{create: name, restarts: "0", image: image, requeueAfter: 2 * time.Minute, phase: v1alpha1.ImageBuilding, reason: v1alpha1.ReasonWorkflowPending, message: "Workflow " + name + " waits for Argo to start it"}
}

// notNoticedYet returns the step that waits for Argo, and requeues for the time when
// it has not noticed the Workflow.
func notNoticedYet() wantStep {
	want := building(v1alpha1.ReasonWorkflowPending, "Workflow mv-3-1c072-1 waits for Argo to start it")
	want.requeueAfter = 2 * time.Minute
	return want
}

// recreates returns the step that creates an attempt after unfinished Workflows
// were deleted.
func recreates(name, restarts string) wantStep {
	want := creates(name)
	want.restarts = restarts
	return want
}

func building(reason, message string) wantStep {
	return wantStep{phase: v1alpha1.ImageBuilding, reason: reason, message: message}
}

func fails(reason, message string) wantStep {
	return wantStep{phase: v1alpha1.ImageBuildFailed, reason: reason, message: message}
}

func isReady() wantStep {
	return wantStep{phase: v1alpha1.ImageBuildSucceeded, reason: v1alpha1.ReasonSucceeded, message: "Image " + image + " was pushed and verified in the registry"}
}

// pendingFor returns the step that waits for a pod, and requeues for the time when
// the pod has taken too long.
func pendingFor(reason, message string) wantStep {
	want := building(reason, message)
	want.requeueAfter = 15*time.Minute - 30*time.Second
	return want
}

func terminates(reason, message string) wantStep {
	want := fails(reason, message)
	want.terminate = "mv-3-1c072-1"
	return want
}

var unchanged = wantStep{unchanged: true}

// training returns a Job with a condition, or without one if the type is empty.
func training(conditionType, reason, message string) *unstructured.Unstructured {
	job := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": "train", "namespace": "default"}}}
	if conditionType != "" {
		condition := map[string]any{"type": conditionType, "status": "True", "reason": reason, "message": message}
		job.Object["status"] = map[string]any{"conditions": []any{condition}}
	}
	return job
}

// trainedByJob makes the ModelVersion wait for a Job.
func (s *scenario) trainedByJob(job *unstructured.Unstructured) {
	s.mv().Spec.TrainedBy = &v1alpha1.Workload{APIVersion: "batch/v1", Kind: "Job", Name: "train"}
	s.observed.Training = job
}

// trainedOnUnknownNode does the same for files on a node that the spec does not name.
func (s *scenario) trainedOnUnknownNode(job *unstructured.Unstructured, pods ...corev1.Pod) {
	s.mv().Spec.Storage.LocalStorage.NodeName = ""
	s.trainedByJob(job)
	s.observed.TrainingPods = pods
}

func trainingPod(name, node, index string) corev1.Pod {
	labels := map[string]string{v1alpha1.LabelTrainVersion: "mv-3"}
	if index != "" {
		labels["batch.kubernetes.io/job-completion-index"] = index
	}
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.PodSpec{NodeName: node}}
}

const (
	unschedulable = "Unschedulable: 0/1 nodes are available: 1 node(s) were unschedulable"
	noNode        = "Workflow mv-3-1c072-1 waits for a node: 0/1 nodes are available: 1 node(s) were unschedulable"
	tooLong       = ". The pod did not start within 15m0s, so the build was terminated. After fixing the cause, rebuild with: kubectl annotate mv"
	noDirectory   = "Node kind-control-plane has no directory /foo. Put the model there, then rebuild with: kubectl annotate mv"
	emptySource   = "Step mount-check: /foo holds no file. " + rebuildTail
	buildNow      = "To build without waiting: kubectl patch mv -n default mv-3 --type=json -p '[{\"op\":\"remove\",\"path\":\"/spec/trainedBy\"}]'"
)

var (
	finished = training("Complete", "", "")
	runs     = training("", "", "")
)

// podRejected has the API server reject the pod of the build.
func podRejected(message string) func(*scenario) {
	return changed(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper { return w.FailedWithoutPod(message) })
}

var nextStepCases = map[string]nextStepCase{
	// Not started.
	"created":                       {func(*scenario) {}, creates("mv-3-1c072-1")},
	"started by KubeDL":             {func(s *scenario) { s.mv().Status.ImageBuildPhase = v1alpha1.ImageBuilding }, creates("mv-3-1c072-1")},
	"template missing":              {func(s *scenario) { s.observed.TemplateFound = false }, building(v1alpha1.ReasonTemplateMissing, "ClusterWorkflowTemplate modelkiln-build does not exist; the build starts when it does. To install it: kubectl apply --server-side -k workflow-templates")},
	"template named":                {func(s *scenario) { nameTemplate(s); s.observed.TemplateMarked = true }, creates("mv-3-1c072-1")},
	"template named but not marked": {nameTemplate, building(v1alpha1.ReasonTemplateNotAllowed, "ModelVersions may not name ClusterWorkflowTemplate nightly-tests: it does not have the label model.kubedl.io/build-template=true")},
	"template named but missing":    {func(s *scenario) { nameTemplate(s); s.observed.TemplateFound = false }, building(v1alpha1.ReasonTemplateMissing, "To build with another one, change spec.build.workflowTemplate: kubectl edit mv -n default mv-3")},
	"model terminating":             {func(s *scenario) { s.observed.ModelTerminating = true }, building(v1alpha1.ReasonModelTerminating, "Model model1 is being deleted; the build starts when it is gone")},
	"Argo missing":                  {func(s *scenario) { s.observed.ArgoMissing = true }, building(v1alpha1.ReasonArgoMissing, "Argo Workflows is not installed")},
	"no storage":                    {func(s *scenario) { s.mv().Spec.Storage = v1alpha1.Storage{} }, fails(v1alpha1.ReasonInvalidSpec, "storage names no kind")},
	"directory denied":              {func(s *scenario) { s.mv().Spec.Storage.LocalStorage.Path = "/etc/kubernetes" }, fails(v1alpha1.ReasonSourceForbidden, "/etc/kubernetes cannot be packaged")},
	"NFS server invalid": {func(s *scenario) {
		s.mv().Spec.Storage = v1alpha1.Storage{NFS: &v1alpha1.NFS{Server: "-obind", Path: "/"}}
	}, fails(v1alpha1.ReasonSourceForbidden, `"-obind" is not a host name or an address`)},
	"EFS not allowed": {func(s *scenario) {
		s.mv().Spec.Storage = v1alpha1.Storage{AWSEfs: &v1alpha1.AWSEfs{VolumeHandle: "fs-12345678"}}
	}, fails(v1alpha1.ReasonSourceForbidden, "allowedEFS is empty")},

	// Waiting for a training.
	"training absent":    {func(s *scenario) { s.trainedByJob(nil) }, building(v1alpha1.ReasonWaitingForTraining, "Job train does not exist yet; the build starts when it has completed. "+buildNow)},
	"training runs":      {func(s *scenario) { s.trainedByJob(runs) }, building(v1alpha1.ReasonWaitingForTraining, "Job train has not completed; the build starts when it has. "+buildNow)},
	"training completed": {func(s *scenario) { s.trainedByJob(finished) }, creates("mv-3-1c072-1")},
	"training completed and gone": {func(s *scenario) {
		s.trainedByJob(nil)
		lifecycle.MarkTrained(s.mv(), nil)
	}, creates("mv-3-1c072-1")},
	"training completed on a node and gone": {func(s *scenario) {
		s.trainedOnUnknownNode(nil)
		lifecycle.MarkTrained(s.mv(), []corev1.Pod{{Spec: corev1.PodSpec{NodeName: "node-7"}}})
	}, creates("mv-3-1c072-1")},
	"training completed on an unknown node and gone": {func(s *scenario) {
		s.trainedOnUnknownNode(nil)
		lifecycle.MarkTrained(s.mv(), nil)
	}, fails(v1alpha1.ReasonNodeUnknown, "Job train completed, but the node that has its files is not known: no pod with the label model.kubedl.io/train-version was seen. Create a new ModelVersion with nodeName")},
	"training completed on a malformed node": {func(s *scenario) {
		s.trainedOnUnknownNode(nil)
		s.mv().Annotations = map[string]string{v1alpha1.AnnotationTrained: "{{workflow.name}}"}
	}, fails(v1alpha1.ReasonNodeUnknown, "the node that has its files is not known")},
	"training failed": {func(s *scenario) {
		s.trainedByJob(training("Failed", "BackoffLimitExceeded", "Job has reached\nthe limit."))
	}, fails(v1alpha1.ReasonTrainingFailed, "Job train failed: BackoffLimitExceeded: Job has reached the limit. Create it again under the same name; the build starts when it has completed. "+buildNow)},
	"training failed, no reason": {func(s *scenario) { s.trainedByJob(training("Failed", "", "")) }, fails(v1alpha1.ReasonTrainingFailed, "Job train failed. Create it again")},
	"training of another API version": {func(s *scenario) {
		s.trainedByJob(finished)
		s.mv().Spec.TrainedBy.APIVersion = "batch/v2"
	}, creates("mv-3-1c072-1")},
	"training kind absent": {func(s *scenario) {
		s.trainedByJob(nil)
		s.mv().Spec.TrainedBy = &v1alpha1.Workload{APIVersion: "kubeflow.org/v1", Kind: "PyTorchJob", Name: "train"}
		s.observed.TrainingKindMissing = true
	}, building(v1alpha1.ReasonWaitingForTraining, "The cluster does not have the kind PyTorchJob of kubeflow.org/v1 yet")},
	"training kind not watched": {func(s *scenario) {
		s.mv().Spec.TrainedBy = &v1alpha1.Workload{APIVersion: "example.com/v1", Kind: "TrainingRun", Name: "train"}
	}, fails(v1alpha1.ReasonTrainingKindUnknown, "The operator does not watch the kind TrainingRun of example.com/v1. The platform team adds it to trainingKinds")},
	"training into a denied directory": {func(s *scenario) {
		s.trainedOnUnknownNode(nil)
		s.mv().Spec.Storage.LocalStorage.Path = "/etc/models"
	}, fails(v1alpha1.ReasonSourceForbidden, "/etc/models cannot be packaged because it is inside /etc")},
	"training needs a volume": {func(s *scenario) {
		s.mv().Spec.Storage = v1alpha1.Storage{AWSEfs: &v1alpha1.AWSEfs{VolumeHandle: "fs-12345678"}}
		s.trainedByJob(runs)
	}, fails(v1alpha1.ReasonSourceForbidden, "allowedEFS is empty")},
	"training of a started build is ignored": {func(s *scenario) {
		s.trainedByJob(finished)
		s.started()
		s.observed.Training, s.observed.Workflows = nil, nil
	}, recreates("mv-3-1c072-2", "1")},
	"training on an unknown node": {func(s *scenario) { s.trainedOnUnknownNode(finished) }, fails(v1alpha1.ReasonNodeUnknown, "Job train completed, but the node that has its files is not known: no pod with the label model.kubedl.io/train-version was seen. Create a new ModelVersion with nodeName")},
	"training on the chief's node": {func(s *scenario) {
		s.trainedOnUnknownNode(finished, trainingPod("a", "node-1", "1"), trainingPod("b", "node-2", "0"))
	}, onNode("node-2", creates("mv-3-1c072-1"))},
	"training runs on a node": {func(s *scenario) { s.trainedOnUnknownNode(runs, trainingPod("a", "node-1", "")) }, onNode("node-1", building(v1alpha1.ReasonWaitingForTraining, "create a new ModelVersion with nodeName and without trainedBy"))},
	"training completed and its pod is gone": {func(s *scenario) {
		s.trainedOnUnknownNode(runs, trainingPod("a", "node-1", ""))
		s.pass()
		s.trainedOnUnknownNode(finished)
	}, onNode("node-1", creates("mv-3-1c072-1"))},
	"training without a chief": {func(s *scenario) {
		s.trainedOnUnknownNode(finished, trainingPod("a", "node-1", ""), trainingPod("b", "node-2", ""))
	}, fails(v1alpha1.ReasonNodeUnknown, "2 pods have the label model.kubedl.io/train-version, and none of them is the chief")},

	// Running.
	"pending":             {func(s *scenario) { s.pass() }, notNoticedYet()},
	"not noticed by Argo": {func(s *scenario) { s.pass(); s.after(4 * time.Minute) }, building(v1alpha1.ReasonArgoUnavailable, "No controller of Argo has noticed Workflow mv-3-1c072-1 within 2m0s. Check that one runs, and that it watches namespace default: one that was started with --namespaced watches only the namespace in --managed-namespace")},
	"templates not readable": {changed(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return w.Errored("cannot get resource clusterWorkflowTemplate at cluster scope")
	}), fails(v1alpha1.ReasonArgoUnavailable, "Argo's controller may not read ClusterWorkflowTemplates, as in an installation for one namespace (--namespaced), so it cannot run Workflow mv-3-1c072-1. Grant it get, list and watch on clusterworkflowtemplates, and restart it. "+rebuildTail)},
	"waiting for a lock":             {changed((*builders.WorkflowWrapper).WaitingForLock), building(v1alpha1.ReasonWorkflowPending, "Workflow mv-3-1c072-1 waits: Waiting for default/Mutex/modelhub/resnet:v1c072 lock")},
	"running mount-check":            {changed(runningStep(contract.StepMountCheck)), building(v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1 runs step mount-check")},
	"running build":                  {changed(runningStep(contract.StepBuild)), building(v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1 runs step build")},
	"running status-report":          {changed(runningStep(contract.StepStatusReport)), building(v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1 runs step status-report")},
	"suspended":                      {func(s *scenario) { s.started(); suspend(s) }, building(v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1 is suspended. To resume it: argo resume -n default mv-3-1c072-1")},
	"first try failed":               {changed(runningStep(contract.StepMountCheck), failingTry), building(v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1 may retry automatically. Try 1 failed: Step mount-check: the registry models.example.com does not respond")},
	"second try runs":                {changed(failingTry, runningStep(contract.StepBuild)), building(v1alpha1.ReasonRetrying, "Workflow mv-3-1c072-1 runs step build (try 2). Try 1 failed: Step mount-check: the registry")},
	"second try failed":              {changed(failingTry, runningStep(contract.StepBuild), failingTry), building(v1alpha1.ReasonRetrying, "Workflow mv-3-1c072-1 may retry automatically. Try 2 failed: Step mount-check: the registry")},
	"unknown phase":                  {func(s *scenario) { s.pass(); s.observed.Workflows[0].Status.Phase = "Paused" }, building(v1alpha1.ReasonWorkflowPhaseUnknown, `Workflow mv-3-1c072-1 is in phase "Paused", which this release of Modelkiln does not support`)},
	"template missing while running": {func(s *scenario) { s.started(); s.observed.TemplateFound = false }, building(v1alpha1.ReasonWorkflowRunning, "runs step build")},
	"build edited while running":     {func(s *scenario) { s.started(); s.edit() }, building(v1alpha1.ReasonWorkflowRunning, "runs step build")},

	// The pod does not start.
	"pod pending":       {pendingPod("PodInitializing"), pendingFor(v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1 runs")},
	"pod unschedulable": {pendingPod(unschedulable), pendingFor(v1alpha1.ReasonUnschedulable, noNode)},
	"image not pulled":  {pendingPod(`ErrImagePull: failed to pull and unpack image "ghcr.io/modelkiln/modelkiln-step:v9": not found`), pendingFor(v1alpha1.ReasonImagePullFailed, "Workflow mv-3-1c072-1 waits for the image of a step: ErrImagePull: failed to pull")},
	"volume not mounted": {func(s *scenario) {
		pendingPod("ContainerCreating")(s)
		s.missesDirectory()
		s.observed.MountFailure.Messages = []string{"first", `MountVolume.SetUp failed for volume "pvc-1" : mount failed: exit status 32`}
	}, pendingFor(v1alpha1.ReasonVolumeMountFailed, `Workflow mv-3-1c072-1 waits for a volume: MountVolume.SetUp failed for volume "pvc-1" : mount failed: exit status 32`)},
	"pod pending for too long":       {func(s *scenario) { pendingPod("PodInitializing")(s); s.after(time.Hour) }, terminates(v1alpha1.ReasonPodNotStarted, "Workflow mv-3-1c072-1 waits for its pod"+tooLong)},
	"pod unschedulable for too long": {func(s *scenario) { pendingPod(unschedulable)(s); s.after(15 * time.Minute) }, terminates(v1alpha1.ReasonUnschedulable, noNode+tooLong)},
	"pod unschedulable, terminated":  {func(s *scenario) { terminatedByOperator(s) }, fails(v1alpha1.ReasonUnschedulable, noNode+tooLong)},
	"pod unschedulable, ended": {func(s *scenario) {
		terminatedByOperator(s)
		s.update((*builders.WorkflowWrapper).Terminated)
	}, fails(v1alpha1.ReasonUnschedulable, noNode+tooLong)},
	"directory missing":             {func(s *scenario) { pendingPod("ContainerCreating")(s); s.missesDirectory() }, terminates(v1alpha1.ReasonSourceMissing, noDirectory)},
	"directory missing, terminated": {func(s *scenario) { missingDirectory(s) }, fails(v1alpha1.ReasonSourceMissing, noDirectory)},
	"directory missing, ended": {func(s *scenario) {
		missingDirectory(s)
		s.observed.MountFailure = nil
		s.update((*builders.WorkflowWrapper).Terminated)
	}, fails(v1alpha1.ReasonSourceMissing, noDirectory)},
	"directory missing, then retried and terminated by a user": {func(s *scenario) {
		missingDirectory(s)
		s.observed.MountFailure = nil
		s.updatePass((*builders.WorkflowWrapper).Terminated)
		s.updatePass(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
			return w.Retried(builders.Epoch.Add(time.Hour)).Running(contract.StepBuild)
		})
		s.update((*builders.WorkflowWrapper).Terminated)
	}, fails(v1alpha1.ReasonWorkflowTerminated, "Workflow mv-3-1c072-1 was terminated. "+againTail)},

	// The Workflow ends.
	"succeeded":                   {changed(succeeding), isReady()},
	"succeeded in its second try": {changed(failingTry, succeeding), isReady()},
	"succeeded without a report": {changed(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		wf := w.Succeeded(w.Report()).Obj()
		return withoutReport(wf)
	}), fails(v1alpha1.ReasonReportInvalid, "Workflow mv-3-1c072-1 of ClusterWorkflowTemplate modelkiln-build succeeded without proof that the image was pushed: it has no report. "+logsTail)},
	"succeeded with another report":    {changed(succeedingWithForeignReport), fails(v1alpha1.ReasonReportInvalid, "its report is about another Workflow")},
	"failed in mount-check":            {changed(failing(contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "/foo holds no file")), fails(v1alpha1.ReasonSourceEmpty, emptySource)},
	"failed in build":                  {changed(failing(contract.StepBuild, v1alpha1.ReasonBuildFailed, "Kaniko failed with exit code 1")), fails(v1alpha1.ReasonBuildFailed, "Step build: Kaniko failed with exit code 1. "+logsTail)},
	"failed in status-report":          {changed(failing(contract.StepStatusReport, v1alpha1.ReasonVerificationFailed, "the image lacks 2 of 7 files")), fails(v1alpha1.ReasonVerificationFailed, "Step status-report: the image lacks 2 of 7 files. "+rebuildTail)},
	"failed in its last try":           {changed(failingTry, failing(contract.StepMountCheck, v1alpha1.ReasonRegistryUnauthorized, "the registry denied access")), fails(v1alpha1.ReasonRegistryUnauthorized, "Step mount-check: the registry denied access. "+rebuildTail)},
	"last try failed without a report": {changed(failingTry, failingWithoutReport(contract.StepBuild)), fails(v1alpha1.ReasonWorkflowFailed, "Workflow mv-3-1c072-1 failed: build: Error (exit code 1)")},
	"failed without a report":          {changed(failingWithoutReport(contract.StepBuild)), fails(v1alpha1.ReasonWorkflowFailed, "Workflow mv-3-1c072-1 failed: build: Error (exit code 1). "+logsTail)},
	"failed before any pod": {changed(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		wf := w.Errored("invalid spec: containers must not be empty").Obj()
		wf.Status.Phase = wfv1.WorkflowFailed
		return builders.FromWorkflow(wf)
	}), fails(v1alpha1.ReasonWorkflowFailed, "Workflow mv-3-1c072-1 failed: invalid spec: containers must not be empty. To see what Argo reports: kubectl describe wf -n default mv-3-1c072-1")},
	"phase Error": {changed(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return w.Errored(`configmaps "artifact-repositories" is forbidden`)
	}), fails(v1alpha1.ReasonWorkflowError, `Argo could not run Workflow mv-3-1c072-1: configmaps "artifact-repositories" is forbidden. To see what Argo reports: kubectl describe wf -n default mv-3-1c072-1`)},
	"stopped":                               {changed(runningStep(contract.StepBuild), (*builders.WorkflowWrapper).Stopped), fails(v1alpha1.ReasonWorkflowStopped, "Workflow mv-3-1c072-1 was stopped. "+againTail)},
	"terminated":                            {changed(runningStep(contract.StepBuild), (*builders.WorkflowWrapper).Terminated), fails(v1alpha1.ReasonWorkflowTerminated, "Workflow mv-3-1c072-1 was terminated. "+againTail)},
	"terminated while it waited for a lock": {changed((*builders.WorkflowWrapper).TerminatedWhileWaitingForLock), fails(v1alpha1.ReasonWorkflowTerminated, "Workflow mv-3-1c072-1 was terminated. "+againTail)},
	"deadline exceeded":                     {changed((*builders.WorkflowWrapper).DeadlineExceeded), fails(v1alpha1.ReasonDeadlineExceeded, "Workflow mv-3-1c072-1 did not finish within its deadline. Raise spec.build.deadlineSeconds, "+editTail)},
	"out of memory":                         {ended(contract.StepBuild, "build: OOMKilled (exit code 137)"), fails(v1alpha1.ReasonOutOfMemory, "Workflow mv-3-1c072-1 ran out of memory: build: OOMKilled (exit code 137). Raise spec.build.resources.limits.memory, "+editTail)},
	"evicted":                               {ended("", "The node was low on resource: ephemeral-storage."), fails(v1alpha1.ReasonEvicted, "The pod of Workflow mv-3-1c072-1 was evicted: The node was low on resource: ephemeral-storage. Raise ephemeral-storage in spec.build.resources (Kaniko needs twice the model's size), "+editTail)},
	"pod lost":                              {ended("", "pod deleted"), fails(v1alpha1.ReasonPodLost, "The pod of Workflow mv-3-1c072-1 was lost: pod deleted. "+againTail)},
	"pod forbidden":                         {podRejected(`pods "mv-3" is forbidden: violates PodSecurity "baseline:latest"`), fails(v1alpha1.ReasonPodForbidden, "ask the platform team to change the Pod Security level of the namespace (kubectl get namespace default --show-labels), then build again: kubectl annotate mv")},
	"refused by OpenShift":                  {podRejected(`pods "mv-3" is forbidden: unable to validate against any security context constraint: [provider restricted-v2: .containers[0].runAsUser: Invalid value: 0]`), fails(v1alpha1.ReasonPodForbidden, "Build with spec.build.engine Stream and files in a PersistentVolumeClaim, which OpenShift's restricted-v2 allows: kubectl edit mv -n default mv-3. Or ask the platform team to allow the pod to the service account (oc adm policy add-scc-to-user anyuid -z modelkiln-build -n default), then build again: kubectl annotate mv")},
	"quota needs limits": {podRejected(`pods "mv-3" is forbidden: failed quota: q: must specify limits.cpu for: build,init,main,mount-check,status-report,wait; limits.memory for: init,wait`), fails(v1alpha1.ReasonPodForbidden,
		"The quota applies to every container of the pod. Create a LimitRange in namespace default with a default for what the quota counts, for example default: {cpu: 500m, memory: 256Mi}, or ask the platform team to set limits and buildPods.otherLimits in the operator's configuration, then build again: kubectl annotate mv")},
	"quota needs other values": {podRejected(`pods "mv-3" is forbidden: failed quota: q: must specify requests.ephemeral-storage for: build,init`), fails(v1alpha1.ReasonPodForbidden, "for example default: {ephemeral-storage: 2Gi}, or ask")},
	"quota exceeded":           {podRejected(`pods "mv-3" is forbidden: exceeded quota: q, requested: pods=1, used: pods=8, limited: pods=8`), fails(v1alpha1.ReasonPodForbidden, "Free resources in namespace default (kubectl describe quota -n default), or ask the platform team to raise the quota, then build again: kubectl annotate mv")},
	"quota of memory exceeded": {podRejected(`pods "mv-3" is forbidden: exceeded quota: q, requested: limits.memory=2Gi, used: limits.memory=0, limited: limits.memory=1Gi`), fails(v1alpha1.ReasonPodForbidden,
		"Free resources in namespace default (kubectl describe quota -n default), lower spec.build.resources (kubectl edit mv -n default mv-3), or ask the platform team to raise the quota, then build again: kubectl annotate mv")},
	"limit above the LimitRange": {podRejected(`pods "mv-3" is forbidden: maximum memory usage per Container is 512Mi, but limit is 1Gi`), fails(v1alpha1.ReasonPodForbidden,
		"A LimitRange of the namespace restricts resources (kubectl describe limitrange -n default). Set spec.build.resources to values that it allows (kubectl edit mv -n default mv-3). If they are, another container is meant: ask the platform team to set buildPods.otherRequests and buildPods.otherLimits in the operator's configuration, then build again: kubectl annotate mv")},
	"ratio of the LimitRange":             {podRejected(`pods "mv-3" is forbidden: memory max limit to request ratio per Container is 2, but provided ratio is 4.000000`), fails(v1alpha1.ReasonPodForbidden, "A LimitRange of the namespace restricts resources")},
	"no PriorityClass":                    {podRejected(`pods "mv-3" is forbidden: no PriorityClass with name builds was found`), fails(v1alpha1.ReasonPodForbidden, "Ask the platform team to create the PriorityClass, or to correct buildPods.priorityClassName in the operator's configuration, then build again: kubectl annotate mv")},
	"request above the default limit":     {podRejected(`Pod "mv-3" is invalid: spec.containers[2].resources.requests: Invalid value: "500m": must be less than or equal to cpu limit of 200m`), fails(v1alpha1.ReasonWorkflowError, "A LimitRange of the namespace sets a limit below a request (kubectl describe limitrange -n default). Set spec.build.resources.limits to the request of the container build or more, "+editTail)},
	"other request above the default one": {podRejected(`Pod "mv-3" is invalid: spec.containers[1].resources.requests: Invalid value: "100m": must be less than or equal to cpu limit of 50m`), fails(v1alpha1.ReasonWorkflowError, "(kubectl describe limitrange -n default). Ask the platform team to set buildPods.otherLimits in the operator's configuration, or to raise the default of the LimitRange, then build again: kubectl annotate mv")},
	"pod rejected by a webhook":           {podRejected(`admission webhook "policy.example.com" denied the request: pods "mv-3" is forbidden: no owner`), fails(v1alpha1.ReasonPodForbidden, "Ask the platform team to allow the pod, then build again: kubectl annotate mv")},
	"automatic tag taken":                 {changed(failing(contract.StepMountCheck, v1alpha1.ReasonTagTaken, "the tag holds another image")), withImage("modelhub/resnet:v1c072d5e", creates("mv-3-1c072-2"))},
	"all automatic tags taken":            {allTagsTaken, fails(v1alpha1.ReasonTagTaken, "Every automatic tag of this ModelVersion is taken: create a new ModelVersion with an imageTag")},
	"requested tag taken": {func(s *scenario) {
		s.mv().Spec.ImageTag = "v1.0"
		changed(failing(contract.StepMountCheck, v1alpha1.ReasonTagTaken, "modelhub/resnet:v1.0 holds another image"))(s)
	}, fails(v1alpha1.ReasonTagTaken, "Step mount-check: modelhub/resnet:v1.0 holds another image. Create a new ModelVersion with another imageTag")},

	// The Workflow is deleted.
	"deleted while unfinished":    {func(s *scenario) { s.started(); s.observed.Workflows = nil }, recreates("mv-3-1c072-2", "1")},
	"deleted for the third time":  {deletedTimes(3), recreates("mv-3-1c072-4", "3")},
	"deleted for the fourth time": {deletedTimes(4), fails(v1alpha1.ReasonWorkflowDeleted, "The Workflow of the unfinished build was deleted 4 times in a row. "+againTail)},
	"deleted while Argo is missing": {func(s *scenario) {
		s.started()
		s.observed.Workflows, s.observed.ArgoMissing = nil, true
	}, building(v1alpha1.ReasonArgoMissing, "Argo Workflows is not installed")},
	"deleted after failure": {func(s *scenario) { s.failed(); s.observed.Workflows = nil }, unchanged},
	"deleted after success": {func(s *scenario) { s.succeeded(); s.observed.Workflows = nil }, unchanged},

	// The Workflow cannot be decoded.
	"invalid": {func(s *scenario) {
		s.started()
		s.observed.Workflows, s.observed.Invalid = nil, &lifecycle.InvalidWorkflow{Name: "mv-3-1c072-1", Message: "spec is text."}
	}, fails(v1alpha1.ReasonWorkflowInvalid, "Workflow mv-3-1c072-1 is invalid: spec is text. To build again, delete it: kubectl delete wf -n default mv-3-1c072-1 && kubectl annotate mv")},
	"invalid, and another one runs": {func(s *scenario) {
		s.failed()
		s.resubmit(runningStep(contract.StepBuild))
		s.observed.Workflows, s.observed.Invalid = s.observed.Workflows[1:], &lifecycle.InvalidWorkflow{Name: "mv-3-1c072-1"}
	}, building(v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1-x7k2p runs step build")},

	// A user acts.
	"build edited after failure":              {func(s *scenario) { s.failed(); s.edit() }, creates("mv-3-1c072-2")},
	"build edited after failure and deletion": {func(s *scenario) { s.failed(); s.edit(); s.observed.Workflows = nil }, creates("mv-3-1c072-2")},
	"build edited after success":              {func(s *scenario) { s.succeeded(); s.edit() }, isReady()},
	"rebuild requested after failure":         {func(s *scenario) { s.failed(); s.requestRebuild() }, creates("mv-3-1c072-2")},
	"rebuild requested, template missing":     {func(s *scenario) { s.failed(); s.edit(); s.observed.TemplateFound = false }, fails(v1alpha1.ReasonTemplateMissing, "ClusterWorkflowTemplate modelkiln-build does not exist")},
	"retried":                                 {func(s *scenario) { s.failed(); s.update(retrying(runningStep(contract.StepMountCheck))) }, building(v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1 runs step mount-check")},
	"retried and succeeded":                   {func(s *scenario) { s.failed(); s.update(retrying(succeeding)) }, isReady()},
	"retried, and failed without a report": {func(s *scenario) {
		s.failed()
		s.update(retrying(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper { return w.Errored("pod deleted") }))
	}, fails(v1alpha1.ReasonWorkflowError, "Argo could not run Workflow mv-3-1c072-1: pod deleted. To see what Argo reports: kubectl describe wf")},
	"resubmitted":               {func(s *scenario) { s.failed(); s.resubmit(runningStep(contract.StepBuild)) }, building(v1alpha1.ReasonWorkflowRunning, "Workflow mv-3-1c072-1-x7k2p runs step build")},
	"resubmitted and succeeded": {func(s *scenario) { s.failed(); s.resubmit(succeeding) }, isReady()},
	"resubmitted after success": {func(s *scenario) { s.succeeded(); s.resubmit(failingWithoutReport(contract.StepMountCheck)) }, unchanged},
	"resubmitted with another path": {func(s *scenario) {
		s.failed()
		s.resubmit(func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
			return succeeding(w.Argument(contract.ParamStoragePath, "/bar"))
		})
	}, unchanged},
	"old attempt resubmitted after an edit": {func(s *scenario) {
		s.failed()
		s.edit()
		s.pass()
		s.updatePass(failing(contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "/foo holds no file"))
		first := builders.FromWorkflow(s.observed.Workflows[0]).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour))
		s.observed.Workflows = append(s.observed.Workflows, first.FailedWithoutReport(contract.StepMountCheck).Obj())
	}, fails(v1alpha1.ReasonWorkflowFailed, "Workflow mv-3-1c072-1-x7k2p failed: mount-check: Error (exit code 1)")},

	// Finished by KubeDL.
	"built by KubeDL":     {finishedByKubeDL(v1alpha1.ImageBuildSucceeded), unchanged},
	"failed under KubeDL": {finishedByKubeDL(v1alpha1.ImageBuildFailed), unchanged},
}

func nameTemplate(s *scenario) {
	s.mv().Spec.Build = &v1alpha1.Build{WorkflowTemplate: "nightly-tests"}
}

func suspend(s *scenario) {
	suspended := true
	s.observed.Workflows[0].Spec.Suspend = &suspended
}

func onNode(name string, want wantStep) wantStep {
	want.nodeName = name
	return want
}

func withImage(image string, want wantStep) wantStep {
	want.image = image
	return want
}

// changed starts a build and applies changes to its Workflow, with a pass after
// each change except the last.
func changed(changes ...func(*builders.WorkflowWrapper) *builders.WorkflowWrapper) func(*scenario) {
	return func(s *scenario) {
		s.pass()
		for i, change := range changes {
			s.update(change)
			if i < len(changes)-1 {
				s.pass()
			}
		}
	}
}

// pendingPod starts a build whose pod has been pending for 30 seconds with this
// message.
func pendingPod(message string) func(*scenario) {
	return func(s *scenario) {
		s.pass()
		s.update(runningStep(""))
		s.podMessage(message)
		s.after(30 * time.Second)
	}
}

// terminatedByOperator starts a build whose pod was unschedulable for so long
// that the operator terminates the Workflow.
func terminatedByOperator(s *scenario) {
	pendingPod(unschedulable)(s)
	s.after(15 * time.Minute)
	s.pass()
	s.observed.Workflows[0].Spec.Shutdown = wfv1.ShutdownStrategyTerminate
	s.podMessage("PodInitializing")
}

// missingDirectory starts a build that the operator terminates because the node
// does not have the directory.
func missingDirectory(s *scenario) {
	pendingPod("ContainerCreating")(s)
	s.missesDirectory()
	s.pass()
	s.observed.Workflows[0].Spec.Shutdown = wfv1.ShutdownStrategyTerminate
}

func withoutReport(wf *wfv1.Workflow) *builders.WorkflowWrapper {
	wf.Status.Outputs = nil
	return builders.FromWorkflow(wf)
}

// succeedingWithForeignReport completes a memoized resubmit, which keeps the report
// of the original Workflow.
func succeedingWithForeignReport(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
	r := w.Report()
	r.Run.WorkflowUID = "another"
	return w.Succeeded(r)
}

// ended starts a build whose pod, or a container of it, ended with this message.
func ended(step, message string) func(*scenario) {
	return changed(runningStep(contract.StepBuild), func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		wf := w.FailedWithoutReport(contract.StepBuild).Obj()
		for id, node := range wf.Status.Nodes {
			isPod := step == "" && node.Type == wfv1.NodeTypePod
			if isPod || step != "" && node.Type == wfv1.NodeTypeContainer && node.DisplayName == step {
				node.Message = message
				wf.Status.Nodes[id] = node
			}
		}
		return builders.FromWorkflow(wf)
	})
}

func allTagsTaken(s *scenario) {
	s.pass()
	for range 4 {
		s.update(failing(contract.StepMountCheck, v1alpha1.ReasonTagTaken, "the tag holds another image"))
		if len(s.observed.Workflows) < 4 {
			s.pass()
		}
	}
}

func deletedTimes(n int) func(*scenario) {
	return func(s *scenario) {
		for range n {
			s.pass()
			s.observed.Workflows = nil
		}
	}
}

// retrying retries the Workflow, as argo retry does, before the change.
func retrying(change func(*builders.WorkflowWrapper) *builders.WorkflowWrapper) func(*builders.WorkflowWrapper) *builders.WorkflowWrapper {
	return func(w *builders.WorkflowWrapper) *builders.WorkflowWrapper {
		return change(w.Retried(builders.Epoch.Add(time.Hour)))
	}
}

// resubmit resubmits the last Workflow, as argo resubmit does.
func (s *scenario) resubmit(change func(*builders.WorkflowWrapper) *builders.WorkflowWrapper) {
	last := s.observed.Workflows[len(s.observed.Workflows)-1]
	resubmitted := builders.FromWorkflow(last).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour))
	s.observed.Workflows = append(s.observed.Workflows, change(resubmitted).Obj())
}

// finishedByKubeDL sets the status that KubeDL writes.
func finishedByKubeDL(phase v1alpha1.ImageBuildPhase) func(*scenario) {
	return func(s *scenario) {
		s.mv().Status = v1alpha1.ModelVersionStatus{ImageBuildPhase: phase, Image: "modelhub/resnet:v1c072", Message: "Image build finished."}
	}
}

// isFinishedByKubeDL reports whether KubeDL finished the ModelVersion.
func (s *scenario) isFinishedByKubeDL() bool {
	return s.mv().Status.ImageBuildPhase != "" && len(s.mv().Status.Conditions) == 0 && s.mv().Status.Message != ""
}

// forEachCase runs a test for the scenario of each case.
func forEachCase(t *testing.T, test func(t *testing.T, s *scenario, want wantStep)) {
	t.Helper()
	for name, tc := range nextStepCases {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t)
			tc.given(s)
			test(t, s, tc.want)
		})
	}
}
