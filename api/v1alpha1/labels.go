package v1alpha1

// Labels, annotations and finalizers. Users, other programs and stored objects
// rely on these names.
const (
	// LabelModelName is the name of the Model. It is on every ModelVersion and on
	// every Workflow that builds one. KubeDL sets it too.
	LabelModelName = "model.kubedl.io/model-name"
	// LabelModelVersion is the name of the ModelVersion, or a hash of it when the
	// name is longer than a label value may be. It is on every Workflow that
	// builds a ModelVersion and is meant for users; the operator relies on owner
	// references.
	LabelModelVersion = "model.kubedl.io/model-version"
	// LabelModelVersionUID is the UID of the ModelVersion. It is on every Workflow
	// that builds a ModelVersion or moves the tag of an alias to its image, and in the
	// config of every image.
	LabelModelVersionUID = "model.kubedl.io/model-version-uid"
	// LabelBuildTemplate with the value "true" marks a ClusterWorkflowTemplate
	// that a ModelVersion may name in spec.build.workflowTemplate.
	LabelBuildTemplate = "model.kubedl.io/build-template"
	// LabelAttempt is the number of the attempt, from 1. It is on every Workflow
	// that the operator created. A resubmitted Workflow has the number of its
	// original.
	LabelAttempt = "model.kubedl.io/attempt"
	// LabelReason on a Workflow that has failed is the reason for which the attempt has
	// failed, as in the condition Ready. The Argo UI can show it as a column, and
	// argo list selects by it. The operator writes it, and decides nothing by it.
	LabelReason = "model.kubedl.io/reason"
	// LabelTrainVersion on a pod names a ModelVersion in the pod's namespace, by a
	// name of at most 63 characters. That ModelVersion's storage is mounted in
	// every container of the pod, so that a training job can write the model to
	// it. The API server calls the training webhook only for pods with this label.
	// An empty value stands for the ModelVersion of the workload that the pod
	// belongs to, whose spec is in AnnotationModelVersion; the operator replaces
	// it with the name.
	LabelTrainVersion = "model.kubedl.io/train-version"
	// LabelServeVersion on a pod names a ModelVersion in the pod's namespace, by a
	// name of at most 63 characters. The files of that ModelVersion's image are
	// mounted read-only in every container of the pod. The pod is rejected until
	// the image exists.
	LabelServeVersion = "model.kubedl.io/serve-version"
	// LabelServeModel on a pod names a Model in the pod's namespace. It has the
	// effect of LabelServeVersion for the ModelVersion that was the Model's latest
	// when the first pod of the same ReplicaSet, Job, or revision of a StatefulSet or
	// DaemonSet was created; for other pods, when the pod itself is created. A pod has
	// at most one of the two labels. The label is also on the ControllerRevisions in
	// which the operator records this.
	LabelServeModel = "model.kubedl.io/serve-model"
	// LabelServeAlias on a pod with LabelServeModel names an alias of the Model. The pod
	// serves the ModelVersion of that alias instead of the latest.
	LabelServeAlias = "model.kubedl.io/serve-alias"
	// LabelVerify with the value "files" on a pod with one of these labels adds an init
	// container that compares the files of the model with those that were signed. The pod
	// does not start with other files. No other value is allowed.
	LabelVerify = "model.kubedl.io/verify"
	// LabelServedVersionUID is the UID of the ModelVersion that a pod serves. Only the
	// operator writes it.
	LabelServedVersionUID = "model.kubedl.io/served-version-uid"
	// AnnotationMountPath on a pod with one of these labels is the path at which
	// the model is mounted: an absolute path of letters, digits, '.', '_' and '-'.
	// The default is /kubedl-model.
	AnnotationMountPath = "model.kubedl.io/mount-path"
	// AnnotationServedVersion is the name of the ModelVersion that a pod serves; on a
	// ControllerRevision, the one that the pods of its owner serve.
	// Only the operator writes it.
	AnnotationServedVersion = "model.kubedl.io/served-version"
	// AnnotationServedImage is the image, by digest, that a pod serves. Only the
	// operator writes it.
	AnnotationServedImage = "model.kubedl.io/served-image"
	// AnnotationModelReady is the name and digest of the ModelVersion that became
	// Ready. The operator writes it on workloads whose pods were rejected before,
	// so that their controllers retry at once. Only the operator writes it.
	AnnotationModelReady = "model.kubedl.io/model-ready"
	// LabelVersionsFromWorkloads with the value "true" on a namespace allows
	// workloads in it to create ModelVersions through AnnotationModelVersion. The
	// operator creates them, even if the user who created the workload has no
	// permission to create ModelVersions.
	LabelVersionsFromWorkloads = "model.kubedl.io/versions-from-workloads"
	// AnnotationModelVersion on a workload, of a kind that spec.trainedBy can name,
	// is the spec of a ModelVersion without trainedBy, as YAML or JSON. When the
	// workload completes, the operator creates the ModelVersion with the name
	// mv-<workload>-<first five digits of the workload's UID>; when it fails, the
	// operator creates none. createdBy defaults to the workload's name.
	AnnotationModelVersion = "model.kubedl.io/model-version"
	// AnnotationLineage on a workload, of a kind that spec.trainedBy can name, declares from
	// what the model was made, as YAML or JSON of the form of spec.lineage. It adds to
	// spec.lineage, and replaces nothing in it.
	AnnotationLineage = "model.kubedl.io/lineage"
	// AnnotationMadeVersion on such a workload records that its ModelVersion was
	// created. The value is the workload's own UID, so that a copy of the workload
	// still creates its own. A ModelVersion that a user deletes is not created
	// again.
	AnnotationMadeVersion = "model.kubedl.io/made-version"
	// AnnotationTrained on a ModelVersion that was created from a workload records
	// that the workload had completed. The build does not wait for it again, because
	// the workload may have been deleted since. The value is the node of the
	// training's chief if the files are on that node and it was known; empty
	// otherwise.
	AnnotationTrained = "model.kubedl.io/trained"
	// LabelAlias is the name of an alias. It is on every Workflow that moves the registry
	// tag of one.
	LabelAlias = "model.kubedl.io/alias"
	// AnnotationGeneration is the generation of the ModelVersion whose build
	// settings a Workflow has. It is on every Workflow that the operator created.
	AnnotationGeneration = "model.kubedl.io/generation"
	// AnnotationRebuild on a ModelVersion requests a new attempt whenever its value
	// changes:
	// kubectl annotate mv NAME model.kubedl.io/rebuild="$(date +%s)" --overwrite
	// On a ModelVersion that is Ready, the attempt checks that the registry still has
	// the image, and pushes it again if not.
	AnnotationRebuild = "model.kubedl.io/rebuild"
	// AnnotationResync on a Workflow is when the operator last made Argo look at it
	// again, because it ran without a pod.
	AnnotationResync = "model.kubedl.io/resync"
	// AnnotationCreatedByUser on a ModelVersion is the name of the authenticated user
	// who created it. The webhook writes it, whatever the user wrote, and a policy
	// prevents other values. It is absent if the webhook was unavailable.
	AnnotationCreatedByUser = "model.kubedl.io/created-by-user"
	// AnnotationPromotedBy, followed by the name of an alias, on a Model is the name of the
	// authenticated user who set the version of the alias. The webhook writes it, whatever
	// the user wrote, and a policy prevents other values. It is absent if the webhook was
	// unavailable.
	AnnotationPromotedBy = "promoted-by.model.kubedl.io/"
	// AnnotationForceDelete with the value "true" on a ModelVersion allows its deletion
	// while pods serve it or an alias stands for it.
	AnnotationForceDelete = "model.kubedl.io/force-delete"
	// AnnotationJoined on a ModelVersion records that it was added to its Model.
	// The value is the ModelVersion's own UID, so that a copy is added on its own.
	// The annotation outlives the owner reference, which
	// kubectl delete model --cascade=orphan removes: the ModelVersion then does not
	// create the Model again.
	AnnotationJoined = "model.kubedl.io/joined"
	// FinalizerVolume is on every ModelVersion for which the operator has created
	// a PersistentVolume and a claim (AWSEfs). The operator removes it after it
	// has deleted both.
	FinalizerVolume = "model.kubedl.io/volume"
)

// Names in images and containers.
const (
	// ModelPath is the directory of an image that holds the model's files.
	ModelPath = "/kubedl-model"
	// ModelPathEnv is the environment variable that names the directory with the
	// model's files, in images and in containers that train or serve a
	// ModelVersion.
	ModelPathEnv = "KUBEDL_MODEL_PATH"
)
