package v1alpha1

// Names that people, other programs and stored objects rely on.
const (
	// LabelModelName is on every ModelVersion and on every Workflow that
	// builds one: the name of the Model. KubeDL sets it too.
	LabelModelName = "model.kubedl.io/model-name"
	// LabelModelVersion is on every Workflow that builds a version: the
	// version's name, or a hash of it when it is longer than a label value may
	// be. For people; the operator goes by owner reference.
	LabelModelVersion = "model.kubedl.io/model-version"
	// LabelModelVersionUID is on every Workflow that builds a version, and in
	// the config of every image: the version's UID.
	LabelModelVersionUID = "model.kubedl.io/model-version-uid"
	// LabelBuildTemplate with the value "true" is on every
	// ClusterWorkflowTemplate that a version may name.
	LabelBuildTemplate = "model.kubedl.io/build-template"
	// LabelAttempt is on every Workflow that the operator made: the number of
	// the attempt, from 1. A resubmitted Workflow carries its original's.
	LabelAttempt = "model.kubedl.io/attempt"
	// LabelTrainVersion on a pod names a ModelVersion of the pod's namespace, by
	// a name of at most 63 characters: that version's storage is mounted in every
	// container of the pod, for a training job to write the model to. The API
	// server asks the operator about pods with this label, and about no others.
	// Empty, it names the version of the workload that the pod belongs to, which
	// carries the version's spec (AnnotationModelVersion); the operator fills the
	// name in.
	LabelTrainVersion = "model.kubedl.io/train-version"
	// LabelServeVersion on a pod names a ModelVersion of the pod's namespace, by
	// a name of at most 63 characters: the files of that version's image are
	// mounted read-only in every container of the pod. The pod is refused while
	// there is no image.
	LabelServeVersion = "model.kubedl.io/serve-version"
	// LabelServeModel on a pod names a Model of the pod's namespace: what
	// LabelServeVersion does, with the version that is the Model's latest when
	// the pod is made. A pod has one of the two labels.
	LabelServeModel = "model.kubedl.io/serve-model"
	// AnnotationMountPath on a pod with one of these labels is where the model is
	// mounted: an absolute path of letters, digits, '.', '_' and '-';
	// /kubedl-model when it is not there.
	AnnotationMountPath = "model.kubedl.io/mount-path"
	// AnnotationServedVersion is on every pod that serves a version: the
	// version's name. Only the operator writes it.
	AnnotationServedVersion = "model.kubedl.io/served-version"
	// AnnotationServedImage is on every pod that serves a version: its image, by
	// digest. Only the operator writes it.
	AnnotationServedImage = "model.kubedl.io/served-image"
	// AnnotationModelReady is on every workload whose pods were refused for want
	// of an image, and that was told when there was one: the version's name and
	// digest. Only the operator writes it.
	AnnotationModelReady = "model.kubedl.io/model-ready"
	// LabelVersionsFromWorkloads with the value "true" on a namespace lets
	// workloads in it make ModelVersions by AnnotationModelVersion. The operator
	// makes those, whether or not whoever made the workload may.
	LabelVersionsFromWorkloads = "model.kubedl.io/versions-from-workloads"
	// AnnotationModelVersion on a workload of a kind that versions may wait for
	// holds the spec of a ModelVersion, as YAML or JSON, without trainedBy. When
	// the workload has completed, the operator makes that version, by the name
	// mv-<workload>-<the first five digits of its UID>; none when it failed.
	// createdBy is the workload's name where the spec does not say it.
	AnnotationModelVersion = "model.kubedl.io/model-version"
	// AnnotationMadeVersion on such a workload says that its version was made:
	// the workload's own UID, so that a copy of the workload has yet to make
	// one. A version that a person deletes does not come back.
	AnnotationMadeVersion = "model.kubedl.io/made-version"
	// AnnotationGeneration is on every Workflow that the operator made: the
	// version's generation whose settings it has.
	AnnotationGeneration = "model.kubedl.io/generation"
	// AnnotationRebuild on a ModelVersion whose last attempt failed asks for a
	// new attempt whenever its value changes:
	// kubectl annotate mv NAME model.kubedl.io/rebuild="$(date +%s)" --overwrite
	AnnotationRebuild = "model.kubedl.io/rebuild"
	// AnnotationJoined on a ModelVersion says that it has become a part of its
	// Model: the version's own UID, so that a copy of the version has yet to.
	// It outlives the owner reference, which kubectl delete model
	// --cascade=orphan takes away: the version does not bring the Model back.
	AnnotationJoined = "model.kubedl.io/joined"
	// FinalizerVolume is on every ModelVersion for which the operator has made a
	// claim and a PersistentVolume (AWSEfs). The operator takes it away when it
	// has deleted both.
	FinalizerVolume = "model.kubedl.io/volume"
)

const (
	// ModelPath is the folder of an image that holds the model's files.
	ModelPath = "/kubedl-model"
	// ModelPathEnv is the environment variable of an image, and of containers
	// that train or serve a version, that names the folder with the model's files.
	ModelPathEnv = "KUBEDL_MODEL_PATH"
)
