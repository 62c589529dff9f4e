package workload

import "k8s.io/apimachinery/pkg/runtime/schema"

// knownRules has the kinds of which it is known how a workload completes and fails.
// Those that TrainingKinds does not return need no expression in the operator's
// configuration, but have to be listed there. The sources are the kinds' API types.
var knownRules = map[schema.GroupKind]rule{
	// https://kubernetes.io/docs/concepts/workloads/controllers/job/#terminal-job-conditions
	{Group: "batch", Kind: "Job"}: byConditions,
	// kubernetes-sigs/jobset, api/jobset/v1alpha2/jobset_types.go: Completed, Failed
	{Group: "jobset.x-k8s.io", Kind: "JobSet"}: byConditions,
	// kubeflow/trainer, pkg/apis/trainer/v1alpha1/trainjob_types.go: Complete, Failed
	{Group: "trainer.kubeflow.org", Kind: "TrainJob"}: byConditions,
	// kubeflow/training-operator, pkg/apis/kubeflow.org/v1/common_types.go, and
	// kubeflow/mpi-operator, pkg/apis/kubeflow/v2beta1/types.go: Succeeded, Failed
	{Group: "kubeflow.org", Kind: "PyTorchJob"}: byConditions,
	{Group: "kubeflow.org", Kind: "TFJob"}:      byConditions,
	{Group: "kubeflow.org", Kind: "MPIJob"}:     byConditions,
	{Group: "kubeflow.org", Kind: "XGBoostJob"}: byConditions,
	{Group: "kubeflow.org", Kind: "PaddleJob"}:  byConditions,
	{Group: "kubeflow.org", Kind: "MXJob"}:      byConditions,
	{Group: "kubeflow.org", Kind: "JAXJob"}:     byConditions,
	// kubeflow/katib, pkg/apis/controller/{experiments,trials}/v1beta1: Succeeded,
	// Failed; a Trial also Killed, EarlyStopped, MetricsUnavailable
	{Group: "kubeflow.org", Kind: "Experiment"}: byConditions,
	{Group: "kubeflow.org", Kind: "Trial"}:      byConditions,
	// kubedl-io/kubedl, pkg/job_controller/api/v1/types.go: Succeeded, Failed
	{Group: "training.kubedl.io", Kind: "PyTorchJob"}:   byConditions,
	{Group: "training.kubedl.io", Kind: "TFJob"}:        byConditions,
	{Group: "training.kubedl.io", Kind: "MPIJob"}:       byConditions,
	{Group: "training.kubedl.io", Kind: "XGBoostJob"}:   byConditions,
	{Group: "training.kubedl.io", Kind: "XDLJob"}:       byConditions,
	{Group: "training.kubedl.io", Kind: "MarsJob"}:      byConditions,
	{Group: "training.kubedl.io", Kind: "ElasticDLJob"}: byConditions,
	// argoproj/argo-workflows, pkg/apis/workflow/v1alpha1/workflow_types.go. Argo
	// sets the condition Completed of failed Workflows too, and with it of the runs of
	// Kubeflow Pipelines, which are Workflows.
	{Group: "argoproj.io", Kind: "Workflow"}: byPhase(phase{
		path: []string{"phase"}, completed: []string{"Succeeded"}, failed: []string{"Failed", "Error"}, message: []string{"message"},
	}),
	// https://tekton.dev/docs/pipelines/pipelineruns/#monitoring-execution-status
	{Group: "tekton.dev", Kind: "PipelineRun"}: bySucceeded,
	{Group: "tekton.dev", Kind: "TaskRun"}:     bySucceeded,
	{Group: "tekton.dev", Kind: "CustomRun"}:   bySucceeded,
	// ray-project/kuberay, ray-operator/apis/ray/v1/rayjob_types.go. A job that
	// fails and is tried again has the deployment status Retrying.
	{Group: "ray.io", Kind: "RayJob"}: rayJob,
	// kubeflow/spark-operator, api/v1beta2/sparkapplication_types.go. After
	// SUBMISSION_FAILED it may submit the application again; FAILED is final.
	{Group: "sparkoperator.k8s.io", Kind: "SparkApplication"}: byPhase(phase{
		path: []string{"applicationState", "state"}, completed: []string{"COMPLETED"}, failed: []string{"FAILED"}, message: []string{"errorMessage"},
	}),
	// volcano-sh/apis, pkg/apis/batch/v1alpha1/job.go
	{Group: "batch.volcano.sh", Kind: "Job"}: byPhase(phase{
		path: []string{"state", "phase"}, completed: []string{"Completed"}, failed: []string{"Failed", "Aborted", "Terminated"}, message: []string{"reason", "message"},
	}),
	// project-codeflare/appwrapper, api/v1beta2/appwrapper_types.go
	{Group: "workload.codeflare.dev", Kind: "AppWrapper"}: byPhase(phase{
		path: []string{"phase"}, completed: []string{"Succeeded"}, failed: []string{"Failed"},
	}),
	// aws-controllers-k8s/sagemaker-controller, apis/v1alpha1/training_job.go
	{Group: "sagemaker.services.k8s.aws", Kind: "TrainingJob"}: byPhase(phase{
		path: []string{"trainingJobStatus"}, completed: []string{"Completed"}, failed: []string{"Failed", "Stopped"}, message: []string{"failureReason"},
	}),
}

// rayJob is the rule of RayJobs: the status of the Ray job, and that of the cluster
// and the retries around it.
func rayJob(status map[string]any) (State, string) {
	jobFailed := []string{"FAILED", "STOPPED"}
	if stringAt(status, "jobDeploymentStatus") == "Retrying" {
		return Running, ""
	}
	return byPhase(
		phase{path: []string{"jobDeploymentStatus"}, failed: []string{"Failed", "ValidationFailed"}, message: []string{"reason", "message"}},
		phase{path: []string{"jobStatus"}, completed: []string{"SUCCEEDED"}, failed: jobFailed, message: []string{"message"}},
	)(status)
}
