package v1alpha1

// Condition types of a ModelVersion. Ready is always present once the operator
// has observed the object; Reconciling and Stalled are present only while they
// are True.
const (
	// ConditionReady is True when the image is in the registry and was verified
	// there, False when the last attempt failed or the ModelVersion cannot be
	// built as it is, and Unknown while a build is pending or running. A
	// ModelVersion that is Ready stays Ready: its image does not change.
	ConditionReady = "Ready"
	// ConditionReconciling is True while a build is pending or running, so that
	// kstatus reports InProgress. It is absent otherwise.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when the operator cannot continue until a user
	// acts, so that kstatus reports Failed. It is absent otherwise.
	ConditionStalled = "Stalled"
)

// Reasons while a ModelVersion waits or builds.
const (
	// ReasonWorkflowPending means that the Workflow exists and has not started.
	// Argo's controller has not observed it yet, a limit on parallel Workflows
	// holds it back, or another build of the same image reference is running.
	ReasonWorkflowPending = "WorkflowPending"
	// ReasonQueued means that the pod of the build has scheduling gates: it waits in
	// the queue of another controller, such as Kueue, which removes them. The message
	// names the gates and quotes the pod's condition. The operator's pendingSeconds
	// begin when the last gate is removed; spec.build.deadlineSeconds include the time
	// in the queue.
	ReasonQueued = "Queued"
	// ReasonWorkflowRunning means that the build is running. The message names
	// the current step.
	ReasonWorkflowRunning = "WorkflowRunning"
	// ReasonRetrying means that the build failed for a reason that can be
	// temporary, such as an unreachable registry or a node drain. The Workflow
	// retries it with a new pod, after 1, 5 and 25 seconds. The message names the
	// failure. No action is required; if the cause needs a fix, fix it now.
	ReasonRetrying = "Retrying"
	// ReasonWorkflowPhaseUnknown means that Argo reports a phase that this
	// release does not know. The operator draws no conclusion from it.
	ReasonWorkflowPhaseUnknown = "WorkflowPhaseUnknown"
	// ReasonUnschedulable means that the build's pod cannot be scheduled; the
	// message quotes the scheduler. The node that holds the storage may be
	// cordoned or gone, the resource requests may be too large, a taint may not
	// be tolerated, or the claim may not be bound. The build fails after the
	// operator's pendingSeconds.
	ReasonUnschedulable = "Unschedulable"
	// ReasonVolumeMountFailed means that a volume of the build's pod cannot be
	// attached or mounted; the message quotes kubelet or the controller that attaches
	// volumes, and names the pods that use a claim which can be used on one node
	// only. The build fails after the operator's pendingSeconds.
	ReasonVolumeMountFailed = "VolumeMountFailed"
	// ReasonImagePullFailed means that the image of a step cannot be pulled; the
	// message names the image. The build fails after the operator's
	// pendingSeconds.
	ReasonImagePullFailed = "ImagePullFailed"
	// ReasonPodNotStarted means that the build's pod did not start for another
	// reason. The build fails after the operator's pendingSeconds.
	ReasonPodNotStarted = "PodNotStarted"
	// ReasonModelTerminating means that the Model is being deleted. The
	// ModelVersion waits until it is gone; then the operator creates a new Model.
	ReasonModelTerminating = "ModelTerminating"
	// ReasonArgoMissing means that the cluster does not serve the kinds Workflow
	// and ClusterWorkflowTemplate. The build starts as soon as Argo Workflows is
	// installed.
	ReasonArgoMissing = "ArgoMissing"
	// ReasonArgoUnavailable means that Argo Workflows is installed, and its controller
	// does not run the build: none has noticed the Workflow, because none is running,
	// or because it watches other namespaces (--namespaced, --managed-namespace) or
	// has another instanceID; or it has no permission to read ClusterWorkflowTemplates.
	// The message says which. A Workflow that was not noticed starts as soon as a
	// controller watches it; after a missing permission was granted, rebuild.
	ReasonArgoUnavailable = "ArgoUnavailable"
	// ReasonTemplateMissing means that the ClusterWorkflowTemplate of the build
	// does not exist. The build starts as soon as it does.
	ReasonTemplateMissing = "TemplateMissing"
	// ReasonTemplateNotAllowed means that the ClusterWorkflowTemplate that
	// spec.build.workflowTemplate names does not have the label
	// model.kubedl.io/build-template: "true". The platform team sets this label
	// on the templates that a ModelVersion may name, in addition to the one that
	// is configured for the namespace. The build starts as soon as the template
	// has the label, or when another template is named.
	ReasonTemplateNotAllowed = "TemplateNotAllowed"
	// ReasonWaitingForTraining means that the workload in spec.trainedBy does not
	// exist yet or has not completed. The build starts when it completes. To
	// build the files that exist now, remove trainedBy; the message has the
	// command.
	ReasonWaitingForTraining = "WaitingForTraining"
	// ReasonRefused means that the API server rejects a resource that the build
	// needs in the namespace: a quota is exhausted, an admission policy denies
	// it, or an object of the same name exists. The message quotes the API
	// server. The operator retries with increasing delays.
	ReasonRefused = "Refused"
)

// Reasons when a ModelVersion is built.
const (
	// ReasonSucceeded means that the image is in the registry and was
	// verified there against the files that were packaged.
	ReasonSucceeded = "Succeeded"
	// ReasonHeldByPolicy means that the image was pushed, and that a policy of the
	// registry does not let anyone pull it until it is signed or scanned. The
	// ModelVersion is Ready with the digest of the push. Sign or scan the image; to
	// have it verified in the registry then, request a rebuild. If the build found
	// such an image at its tag, and has not pushed it, the ModelVersion has failed.
	ReasonHeldByPolicy = "HeldByPolicy"
)

// Reasons why a ModelVersion cannot be built as it is.
const (
	// ReasonInvalidSpec means that the spec names something that can never be
	// built and that admission could not detect. The message names the field and
	// a valid value. Create a new ModelVersion.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonStorageKindUnsupported means that a manually submitted Workflow names
	// a storage kind that the template does not support. Use localStorage, nfs or
	// persistentVolumeClaim.
	ReasonStorageKindUnsupported = "StorageKindUnsupported"
	// ReasonSourceForbidden means that the storage may not be packaged. The host
	// path is a system directory, is denied or not allowed by the platform team,
	// or leads to such a directory through a symbolic link on the node; or the
	// platform team does not allow the NFS server, its directory, or the AWS
	// Elastic File System. The message names the setting that forbids it. A
	// ModelVersion that was rejected before its first build starts when the
	// operator's configuration allows it.
	ReasonSourceForbidden = "SourceForbidden"
	// ReasonImageForbidden means that the platform team does not allow models to
	// be pushed to imageRepo, or to be added to spec.build.baseImage. The message
	// names the setting that forbids it. The build starts when the operator's
	// configuration allows it, or with another base image.
	ReasonImageForbidden = "ImageForbidden"
	// ReasonImageLost means that the registry no longer has the image of a
	// ModelVersion that was Ready, and that it could not be built again. The message
	// has the cause. Fix it, then request a rebuild.
	ReasonImageLost = "ImageLost"
	// ReasonSchedulingForbidden means that the platform team does not allow
	// spec.build.tolerations or spec.build.nodeSelector. The message names the
	// setting that forbids it. The build starts when the operator's configuration
	// allows it, or without them.
	ReasonSchedulingForbidden = "SchedulingForbidden"
	// ReasonTrainingKindUnknown means that the operator does not watch the kind
	// that spec.trainedBy names. Ask the platform team to add it to trainingKinds
	// in the operator's configuration.
	ReasonTrainingKindUnknown = "TrainingKindUnknown"
	// ReasonTrainingFailed means that the workload in spec.trainedBy failed; the
	// message quotes its status. Create the workload again under the same name,
	// and the ModelVersion waits for it again; or remove trainedBy to build the
	// files that exist now.
	ReasonTrainingFailed = "TrainingFailed"
	// ReasonNodeUnknown means that the node that holds the files cannot be
	// determined. The spec does not name it, and no pod of the training has the
	// label model.kubedl.io/train-version, or several have it and none of them is
	// the chief. Create a new ModelVersion with nodeName.
	ReasonNodeUnknown = "NodeUnknown"
	// ReasonWorkflowNameConflict means that a Workflow with the name of the next
	// attempt exists, and is not controlled by this ModelVersion or builds something
	// else. The message has the command that replaces it.
	ReasonWorkflowNameConflict = "WorkflowNameConflict"
	// ReasonWorkflowDeleted means that the Workflow of an unfinished build was
	// deleted repeatedly and is not created again. Request a new attempt with the
	// rebuild annotation.
	ReasonWorkflowDeleted = "WorkflowDeleted"
	// ReasonWorkflowInvalid means that the Workflow of the build cannot be decoded,
	// for example because a user edited a number into text, or has more nodes than
	// the operator reads. The message has the cause and the command that replaces
	// the Workflow. Other ModelVersions are not affected.
	ReasonWorkflowInvalid = "WorkflowInvalid"
)

// Reasons why a build failed. Those about the source and the registry are
// reported by the steps of the build.
const (
	// ReasonSourceMissing means that the storage path does not exist: there is no
	// such directory on the node, no such subPath in the claim, no such bucket, no object
	// below the prefix, no such repository or revision, or no such image or tag; or the
	// image has no file in the model's directory.
	ReasonSourceMissing = "SourceMissing"
	// ReasonSourceNotDirectory means that the storage path is a file.
	ReasonSourceNotDirectory = "SourceNotDirectory"
	// ReasonSourceEmpty means that the storage path contains no file.
	ReasonSourceEmpty = "SourceEmpty"
	// ReasonSourceUnreadable means that a file or directory below the storage
	// path cannot be read.
	ReasonSourceUnreadable = "SourceUnreadable"
	// ReasonSourceUnavailable means that the object store or the hub does not respond, or
	// not as one: the endpoint is wrong, the network fails, or its certificate is not
	// trusted.
	ReasonSourceUnavailable = "SourceUnavailable"
	// ReasonSourceUnauthorized means that the object store or the hub rejects the
	// credentials, or requires credentials and received none: the Secret or the identity
	// of the service account is wrong or has expired, or an account has not accepted the
	// licence of a repository. The message has what to do.
	ReasonSourceUnauthorized = "SourceUnauthorized"
	// ReasonSourceUnsafe means that the storage path contains something that
	// cannot be packaged faithfully: a symbolic link that is broken or leads out
	// of the path, a name that is not valid UTF-8, a file .modelkilnignore with a
	// pattern that can match nothing, or more files than a build has memory for; or that
	// the image in storage.image is an artifact of another kind, or damaged.
	ReasonSourceUnsafe = "SourceUnsafe"
	// ReasonSourceIncomplete means that a file of the model is missing or
	// damaged, as far as names, sizes and headers show: an index names a file
	// that does not exist, a numbered part is missing, a file of a known format is
	// empty or truncated, a file is a pointer of Git LFS, or a file is a temporary
	// one of rsync or of a download. Finish copying the model, or remove the files
	// that do not belong to it, then retry. Of the image in storage.image, the list of
	// files does not agree with its layers: package the model again.
	ReasonSourceIncomplete = "SourceIncomplete"
	// ReasonSourceChanging means that a file changed while it was packaged. A
	// process is still writing; retry when it has finished.
	ReasonSourceChanging = "SourceChanging"
	// ReasonSourceChanged means that the files have changed since the registry
	// received the image of this ModelVersion. Create a new ModelVersion.
	ReasonSourceChanged = "SourceChanged"
	// ReasonTagMoved means that the tag in imageTag holds another image than the one whose
	// digest spec.storage.image names. Create a new ModelVersion with the digest of the
	// tag, or have the tag refer to the image again.
	ReasonTagMoved = "TagMoved"
	// ReasonPushSecretMissing means that the push Secret that the spec names does
	// not exist in the namespace, or is not of type
	// kubernetes.io/dockerconfigjson.
	ReasonPushSecretMissing = "PushSecretMissing"
	// ReasonRegistryUnreachable means that the registry does not respond: the
	// host is wrong, the network fails, or the registry uses plain HTTP and the
	// operator's configuration does not allow that for this host.
	ReasonRegistryUnreachable = "RegistryUnreachable"
	// ReasonRegistryUntrusted means that the registry's certificate is expired,
	// is for another host, or is signed by an unknown authority. Add the
	// authority's certificate to the operator's configuration, or fix the
	// registry's certificate.
	ReasonRegistryUntrusted = "RegistryUntrusted"
	// ReasonRegistryFull means that the registry, or a proxy in front of it,
	// rejects an upload or a layer of this size (413), or its quota or disk is
	// exhausted (507). The message quotes the registry. Ask for a higher limit or
	// quota, or split the largest file.
	ReasonRegistryFull = "RegistryFull"
	// ReasonRateLimited means that the registry, the object store or the hub accepts no
	// more requests of this account for a while (429). The build retries; if the limit
	// remains, use an account with a higher one, or a mirror of the base image.
	ReasonRateLimited = "RateLimited"
	// ReasonRepositoryMissing means that the registry does not have the repository
	// in imageRepo, and does not create it for a push, or hides from this account
	// that it has it. Create the repository, or correct imageRepo.
	ReasonRepositoryMissing = "RepositoryMissing"
	// ReasonMediaTypeUnsupported means that the registry does not accept the media
	// type of the image's layers or manifest. Choose another
	// spec.build.compression, or update the registry.
	ReasonMediaTypeUnsupported = "MediaTypeUnsupported"
	// ReasonRegistryUnauthorized means that the registry rejects the credentials,
	// or requires credentials and received none.
	ReasonRegistryUnauthorized = "RegistryUnauthorized"
	// ReasonTagTaken means that the image tag holds something other than what the
	// build of this ModelVersion would push, or that the registry treats it as
	// immutable. Nothing is overwritten; choose another
	// imageTag, or delete the tag in the registry if nobody needs its image.
	ReasonTagTaken = "TagTaken"
	// ReasonBuildFailed means that the build engine failed; the message ends with
	// the end of its log.
	ReasonBuildFailed = "BuildFailed"
	// ReasonVerificationFailed means that the content of the registry after the
	// push does not match the files that were packaged.
	ReasonVerificationFailed = "VerificationFailed"
	// ReasonSigningKeyMissing means that the image must be signed, by the configuration or
	// because spec.build.signingSecretName names a Secret, and the Secret does not exist or
	// has no key; or that its key cannot be used: it is encrypted without a password, or is
	// no ECDSA key on the curve P-256. The image was pushed; create the Secret, then retry.
	ReasonSigningKeyMissing = "SigningKeyMissing"
	// ReasonSigningFailed means that the registry has the image and does not accept its
	// signature. The message quotes the registry. The image stays what it is; fix the
	// cause, then retry.
	ReasonSigningFailed = "SigningFailed"
	// ReasonReportInvalid means that Argo reports success without a valid report
	// of this run that proves it: the template was changed and returns none.
	ReasonReportInvalid = "ReportInvalid"
	// ReasonOutOfMemory means that a step was killed because it exceeded its
	// memory limit or the memory of the node. Raise
	// spec.build.resources.limits.memory.
	ReasonOutOfMemory = "OutOfMemory"
	// ReasonEvicted means that kubelet evicted the build's pod, usually because
	// the node's disk or the pod's limit for ephemeral storage was exhausted.
	// Request more in spec.build.resources: Kaniko needs twice the size of the
	// model.
	ReasonEvicted = "Evicted"
	// ReasonPodLost means that the build's pod was deleted, or its node went
	// away, before the build finished. If the pod does not end within five minutes of
	// its deletion, as on a node that is gone, the operator deletes the Workflow and
	// starts the next attempt.
	ReasonPodLost = "PodLost"
	// ReasonPodForbidden means that the API server does not admit the build's
	// pod: the Pod Security Standard level, a quota or a LimitRange of the
	// namespace, or another policy of the cluster, forbids what the pod needs.
	// localStorage needs the level privileged; other storage needs baseline, or,
	// for claims and AWSEfs with the engine Stream, restricted. The message quotes
	// the API server and says what to do. The ModelVersion is not Stalled while
	// the Workflow still retries.
	ReasonPodForbidden = "PodForbidden"
	// ReasonDeadlineExceeded means that the build did not finish within its
	// deadline.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonWorkflowStopped means that a user stopped the Workflow.
	ReasonWorkflowStopped = "WorkflowStopped"
	// ReasonWorkflowTerminated means that a user terminated the Workflow. Argo
	// reports a Workflow that is terminated while it waits for a lock as
	// succeeded; the operator reports it as terminated.
	ReasonWorkflowTerminated = "WorkflowTerminated"
	// ReasonWorkflowFailed means that the Workflow failed outside its steps, for
	// example because Argo finds the template invalid. The message quotes Argo.
	ReasonWorkflowFailed = "WorkflowFailed"
	// ReasonWorkflowError means that Argo could not run the Workflow, for example
	// because its pod was lost or could not be created. The message quotes Argo.
	ReasonWorkflowError = "WorkflowError"
)

// Reasons lists every reason that the operator gives to the condition Ready,
// other than those that only a custom ClusterWorkflowTemplate reports.
var Reasons = []string{
	ReasonWorkflowPending,
	ReasonQueued,
	ReasonWorkflowRunning,
	ReasonRetrying,
	ReasonWorkflowPhaseUnknown,
	ReasonUnschedulable,
	ReasonVolumeMountFailed,
	ReasonImagePullFailed,
	ReasonPodNotStarted,
	ReasonModelTerminating,
	ReasonArgoMissing,
	ReasonArgoUnavailable,
	ReasonTemplateMissing,
	ReasonTemplateNotAllowed,
	ReasonWaitingForTraining,
	ReasonRefused,
	ReasonSucceeded,
	ReasonHeldByPolicy,
	ReasonInvalidSpec,
	ReasonStorageKindUnsupported,
	ReasonSourceForbidden,
	ReasonImageForbidden,
	ReasonImageLost,
	ReasonSchedulingForbidden,
	ReasonTrainingKindUnknown,
	ReasonTrainingFailed,
	ReasonNodeUnknown,
	ReasonWorkflowNameConflict,
	ReasonWorkflowDeleted,
	ReasonWorkflowInvalid,
	ReasonSourceMissing,
	ReasonSourceNotDirectory,
	ReasonSourceEmpty,
	ReasonSourceUnreadable,
	ReasonSourceUnavailable,
	ReasonSourceUnauthorized,
	ReasonSourceUnsafe,
	ReasonSourceIncomplete,
	ReasonSourceChanging,
	ReasonSourceChanged,
	ReasonTagMoved,
	ReasonPushSecretMissing,
	ReasonRegistryUnreachable,
	ReasonRegistryUntrusted,
	ReasonRegistryFull,
	ReasonRateLimited,
	ReasonRepositoryMissing,
	ReasonMediaTypeUnsupported,
	ReasonRegistryUnauthorized,
	ReasonTagTaken,
	ReasonBuildFailed,
	ReasonVerificationFailed,
	ReasonSigningKeyMissing,
	ReasonSigningFailed,
	ReasonReportInvalid,
	ReasonOutOfMemory,
	ReasonEvicted,
	ReasonPodLost,
	ReasonPodForbidden,
	ReasonDeadlineExceeded,
	ReasonWorkflowStopped,
	ReasonWorkflowTerminated,
	ReasonWorkflowFailed,
	ReasonWorkflowError,
}
