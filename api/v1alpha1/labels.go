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
	LabelTrainVersion = "model.kubedl.io/train-version"
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
	// ModelPathEnv is the environment variable of an image, and of training
	// containers, that names the folder with the model's files.
	ModelPathEnv = "KUBEDL_MODEL_PATH"
)
