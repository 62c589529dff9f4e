package v1alpha1

// Condition types of a ModelVersion. They follow kstatus: Ready is always
// present once the operator has seen the object; Reconciling and Stalled are
// present only while true.
const (
	// ConditionReady is True when the image is in the registry and was
	// verified there, False when the last attempt failed or the version
	// cannot be built as it is, and Unknown while a build is on its way. A
	// ModelVersion that is Ready stays Ready: its image does not change any
	// more.
	ConditionReady = "Ready"
	// ConditionReconciling is True while a build is waited for, so that
	// kstatus says InProgress. It is absent otherwise.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when nothing more will happen until a person
	// acts, so that kstatus says Failed. It is absent otherwise.
	ConditionStalled = "Stalled"
)

// Reasons while a version waits or builds.
const (
	// ReasonWorkflowPending: the Workflow exists and has not started: Argo's
	// controller has not seen it yet, a limit on parallel workflows holds it
	// back, or another build of the same image reference runs.
	ReasonWorkflowPending = "WorkflowPending"
	// ReasonWorkflowRunning: the build runs. The message names the step.
	ReasonWorkflowRunning = "WorkflowRunning"
	// ReasonRetrying: the build failed for something that may pass by itself, such
	// as a registry that does not answer or a node that is drained, and the
	// Workflow tries again with a fresh pod, after 1, 5 and 25 seconds. The
	// message says what went wrong. Nothing has to be done; if the cause is to be
	// mended, mend it now.
	ReasonRetrying = "Retrying"
	// ReasonWorkflowPhaseUnknown: Argo reports a phase that this release does
	// not know. Nothing is concluded from it.
	ReasonWorkflowPhaseUnknown = "WorkflowPhaseUnknown"
	// ReasonUnschedulable: no node takes the build's pod; the message carries the
	// scheduler's words. The node that the storage is on may be cordoned or
	// gone, the requests too large, a taint not tolerated, or the claim not
	// bound. Fails after the operator's pendingSeconds.
	ReasonUnschedulable = "Unschedulable"
	// ReasonVolumeMountFailed: kubelet cannot mount a volume of the build's pod;
	// the message carries its words. Fails after the operator's pendingSeconds.
	ReasonVolumeMountFailed = "VolumeMountFailed"
	// ReasonImagePullFailed: the image of a step cannot be pulled; the message
	// names it. Fails after the operator's pendingSeconds.
	ReasonImagePullFailed = "ImagePullFailed"
	// ReasonPodNotStarted: the build's pod did not start for another reason.
	// Fails after the operator's pendingSeconds.
	ReasonPodNotStarted = "PodNotStarted"
	// ReasonModelTerminating: the Model of that name is being deleted. The
	// version waits until it is gone, and a new Model is made then.
	ReasonModelTerminating = "ModelTerminating"
	// ReasonArgoMissing: the cluster does not have Argo's kinds Workflow and
	// ClusterWorkflowTemplate. The build starts as soon as Argo Workflows is
	// installed.
	ReasonArgoMissing = "ArgoMissing"
	// ReasonTemplateMissing: the ClusterWorkflowTemplate that builds are made
	// from does not exist. The build starts as soon as it does.
	ReasonTemplateMissing = "TemplateMissing"
	// ReasonTemplateNotAllowed: spec.build.workflowTemplate names a
	// ClusterWorkflowTemplate that does not carry the label
	// model.kubedl.io/build-template: "true". The platform team marks those
	// that versions may name, beside the one that it has chosen for the
	// namespace. The build starts as soon as it is marked, or another is named.
	ReasonTemplateNotAllowed = "TemplateNotAllowed"
	// ReasonWaitingForTraining: the workload in spec.trainedBy does not exist
	// yet, or has not completed. The build starts when it has. To build what is
	// there now, take trainedBy away; the message has the command.
	ReasonWaitingForTraining = "WaitingForTraining"
	// ReasonRefused: the API server refuses what a build needs in the
	// namespace: a quota is used up, a policy of the cluster forbids it, or
	// something of the same name is in the way. The message carries its words.
	// The operator asks again by itself, less and less often.
	ReasonRefused = "Refused"
)

// ReasonSucceeded says that the image is in the registry, and what the registry holds
// was checked against the files that were packaged.
const ReasonSucceeded = "Succeeded"

// Reasons why a version cannot be built as it is.
const (
	// ReasonInvalidSpec: the spec names something that can never be built and
	// that admission could not see. The message says which field and what to
	// write instead. Make a new ModelVersion.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonStorageKindUnsupported: a Workflow that was started by hand names a
	// storage kind that the template does not know. Use localStorage, nfs or
	// persistentVolumeClaim.
	ReasonStorageKindUnsupported = "StorageKindUnsupported"
	// ReasonSourceForbidden: the host path is one that is never packaged
	// (system folders, and whatever the platform team denies or does not
	// allow), or leads to one through a symbolic link on the node; or the NFS
	// server, its folder, or the AWS Elastic File System is none that the
	// platform team allows. The message says which rule refuses it. A version
	// that was refused before its first build starts when the operator's
	// configuration allows it.
	ReasonSourceForbidden = "SourceForbidden"
	// ReasonTrainingKindUnknown: spec.trainedBy names a kind that the operator
	// does not watch. The platform team adds it to trainingKinds in the
	// operator's configuration.
	ReasonTrainingKindUnknown = "TrainingKindUnknown"
	// ReasonTrainingFailed: the workload in spec.trainedBy failed; the message
	// carries its words. Run it again under the same name, which is waited for by
	// itself, or take trainedBy away to build what is there.
	ReasonTrainingFailed = "TrainingFailed"
	// ReasonNodeUnknown: the files lie on a node that nobody has named, and the
	// training has no pod that tells which: none carries the label
	// model.kubedl.io/train-version, or several do and none is the chief. Make a
	// new ModelVersion with nodeName.
	ReasonNodeUnknown = "NodeUnknown"
	// ReasonWorkflowNameConflict: a Workflow of the name that the next attempt
	// has to bear exists and does not belong to this version. Delete or rename
	// that Workflow.
	ReasonWorkflowNameConflict = "WorkflowNameConflict"
	// ReasonWorkflowDeleted: the Workflow of an unfinished build was deleted
	// again and again, and is not started once more. Ask for a new attempt
	// with the rebuild annotation.
	ReasonWorkflowDeleted = "WorkflowDeleted"
)

// Reasons why a build failed. Those of the source and the registry come from
// the build's own steps.
const (
	// ReasonSourceMissing: the storage path does not exist: no such folder on
	// the node, or no such sub-path in the claim.
	ReasonSourceMissing = "SourceMissing"
	// ReasonSourceNotDirectory: the storage path is a file.
	ReasonSourceNotDirectory = "SourceNotDirectory"
	// ReasonSourceEmpty: the storage path holds no file.
	ReasonSourceEmpty = "SourceEmpty"
	// ReasonSourceUnreadable: a file or folder below the storage path cannot
	// be read.
	ReasonSourceUnreadable = "SourceUnreadable"
	// ReasonSourceUnsafe: the storage path holds something that cannot be
	// packaged faithfully: a symbolic link that leads out of it or nowhere, a
	// name that is not valid UTF-8, or more files than a build has memory for.
	ReasonSourceUnsafe = "SourceUnsafe"
	// ReasonSourceIncomplete: a file of the model is missing or damaged, as far
	// as names, sizes and headers tell: an index names a file that is not
	// there, or a safetensors, GGUF or ONNX file is empty or cut short. Finish
	// copying the model, or remove what does not belong to it, then retry.
	ReasonSourceIncomplete = "SourceIncomplete"
	// ReasonSourceChanging: a file changed while it was packaged. Something is
	// still writing; retry when it has finished.
	ReasonSourceChanging = "SourceChanging"
	// ReasonSourceChanged: the registry holds this version already, and the
	// files are no longer the ones it was made from. Make a new ModelVersion.
	ReasonSourceChanged = "SourceChanged"
	// ReasonPushSecretMissing: the push secret that the spec names does not
	// exist in the namespace, or is not of type
	// kubernetes.io/dockerconfigjson.
	ReasonPushSecretMissing = "PushSecretMissing"
	// ReasonRegistryUnreachable: the registry does not answer: wrong host,
	// network, or plain HTTP that the operator's configuration does not
	// allow for this host.
	ReasonRegistryUnreachable = "RegistryUnreachable"
	// ReasonRegistryUntrusted: the registry's certificate is expired, for another
	// host, or of an authority that nobody named. Put the authority's certificate
	// into the operator's configuration, or mend the registry's.
	ReasonRegistryUntrusted = "RegistryUntrusted"
	// ReasonRegistryFull: the registry, or a proxy before it, takes nothing of
	// that size (413), or its quota or disk is full (507). Have the limit or the
	// quota raised.
	ReasonRegistryFull = "RegistryFull"
	// ReasonRegistryUnauthorized: the registry refuses the credentials, or
	// wants some and got none.
	ReasonRegistryUnauthorized = "RegistryUnauthorized"
	// ReasonTagTaken: the image tag holds something else than this version.
	// Nothing is overwritten; choose another imageTag.
	ReasonTagTaken = "TagTaken"
	// ReasonBuildFailed: the image builder failed; the message ends with its
	// last words.
	ReasonBuildFailed = "BuildFailed"
	// ReasonVerificationFailed: what the registry holds after the push is not
	// what was packaged.
	ReasonVerificationFailed = "VerificationFailed"
	// ReasonReportInvalid: Argo says that the workflow succeeded, and there is
	// no valid report of this run that proves it: the template was changed and
	// returns none.
	ReasonReportInvalid = "ReportInvalid"
	// ReasonOutOfMemory: a step was killed since it needed more memory than its
	// limit, or than the node had. Raise spec.build.resources.limits.memory.
	ReasonOutOfMemory = "OutOfMemory"
	// ReasonEvicted: kubelet ended the build's pod, mostly since the node's disk
	// or the pod's limit of ephemeral storage was full. Ask for more with
	// spec.build.resources: Kaniko needs twice the model's size.
	ReasonEvicted = "Evicted"
	// ReasonPodLost: the build's pod was deleted, or its node went away, before
	// the build had ended.
	ReasonPodLost = "PodLost"
	// ReasonPodForbidden: the API server does not let the build's pod into the
	// namespace, whose Pod Security level, or another policy of the cluster,
	// forbids what the pod needs: a folder of a node needs the level privileged,
	// any other storage baseline. The message carries the API server's words.
	// While the Workflow tries again by itself, the version is not Stalled yet.
	// Create a new ModelVersion for files in another kind of storage or in
	// another namespace, or have the platform team change the level.
	ReasonPodForbidden = "PodForbidden"
	// ReasonDeadlineExceeded: the build did not finish within its deadline.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonWorkflowStopped: a person stopped the Workflow.
	ReasonWorkflowStopped = "WorkflowStopped"
	// ReasonWorkflowTerminated: a person terminated the Workflow, perhaps while
	// it waited for a lock, which Argo calls a success.
	ReasonWorkflowTerminated = "WorkflowTerminated"
	// ReasonWorkflowFailed: the Workflow failed outside its steps, as for a
	// template that Argo finds invalid; the message carries Argo's own.
	ReasonWorkflowFailed = "WorkflowFailed"
	// ReasonWorkflowError: Argo could not run the Workflow (a pod that cannot
	// be made, or was lost); the message carries Argo's own.
	ReasonWorkflowError = "WorkflowError"
)
