package v1alpha1

// Lineage declares from what a model was made. Every field is optional, and
// marked as declared in the status: the operator checks none of it.
type Lineage struct {
	// datasets are the data that the model was trained with.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Datasets []Resource `json:"datasets,omitempty"`
	// code is the source code of the training.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Code []Resource `json:"code,omitempty"`
	// baseModels are the models from which the training started.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	BaseModels []BaseModel `json:"baseModels,omitempty"`
	// run is the run in an experiment tracker, such as MLflow or Weights & Biases.
	// +optional
	Run *Resource `json:"run,omitempty"`
	// parameters are the parameters of the training, by name, for example
	// learning-rate: "3e-4".
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(name, size(name) > 0 && size(name) <= 256 && size(self[name]) <= 256)",message="parameters have a name of 1 to 256 characters and a value of at most 256: link longer ones with run.uri"
	Parameters map[string]LineageText `json:"parameters,omitempty"`
	// metrics are what the training measured.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Metrics []Metric `json:"metrics,omitempty"`
}

// LineageText is a text of a user in a lineage, of at most 256 characters.
//
// +kubebuilder:validation:MaxLength=256
type LineageText string

// Resource is something that a model was made from, described as a ResourceDescriptor
// of in-toto: by a name, a URI and digests.
//
// +kubebuilder:validation:XValidation:rule="has(self.name) || has(self.uri) || has(self.digest)",message="a resource needs a name, a uri or a digest, for example {uri: s3://data/faces/v3}"
type Resource struct {
	// name is a name for people.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`
	// uri is where it is, for example s3://data/faces/v3 or
	// git+https://github.com/acme/train@refs/tags/v7.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	URI string `json:"uri,omitempty"`
	// digest are its digests by algorithm, for example sha256 or gitCommit.
	// +optional
	// +kubebuilder:validation:MaxProperties=4
	// +kubebuilder:validation:XValidation:rule="self.all(algorithm, algorithm.matches('^[A-Za-z0-9_]{1,32}$') && self[algorithm].matches('^[0-9A-Za-z+/=_-]{1,256}$'))",message="digest maps an algorithm to a digest, for example {sha256: 9f86d0…} or {gitCommit: 1a2b3c…}"
	Digest map[string]LineageText `json:"digest,omitempty"`
}

// BaseModel is a model from which a training started.
//
// +kubebuilder:validation:XValidation:rule="has(self.modelVersion) != (has(self.uri) || has(self.name))",message="a base model is either a modelVersion of this namespace, for example {modelVersion: mv-2}, or another model, for example {uri: hf://meta-llama/Llama-3.1-8B}"
type BaseModel struct {
	// modelVersion is the name of a ModelVersion in the same namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ModelVersion string `json:"modelVersion,omitempty"`
	// name is a name for people.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`
	// uri is where the model is, for example hf://meta-llama/Llama-3.1-8B@0e9e39f.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	URI string `json:"uri,omitempty"`
}

// Metric is what a training measured.
//
// +kubebuilder:validation:XValidation:rule="has(self.name) && has(self.value)",message="a metric needs a name and a value, for example {name: accuracy, value: \"0.913\"}"
type Metric struct {
	// name is the name of the metric, for example accuracy.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`
	// value is the value as text, for example "0.913".
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value,omitempty"`
	// dataset is the name of the data on which it was measured.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Dataset string `json:"dataset,omitempty"`
}

// LineageStatus is from what a model was made, as far as it is known. A fact that several
// origins state is in the list once for each of them.
type LineageStatus struct {
	// facts are what was declared, what the operator observed and what the files state, in
	// this order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Facts []LineageFact `json:"facts,omitempty"`
	// omitted is the number of facts beyond those that a status can hold.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Omitted int64 `json:"omitted,omitempty"`
}

// LineageOrigin is who states a fact of a lineage.
//
// +kubebuilder:validation:Enum=Declared;Observed;File
type LineageOrigin string

const (
	// DeclaredFact is a fact that a user has declared: in spec.lineage, or in the annotation
	// model.kubedl.io/lineage of the workload that trained the model.
	DeclaredFact LineageOrigin = "Declared"
	// ObservedFact is a fact that the operator has observed in the cluster.
	ObservedFact LineageOrigin = "Observed"
	// FileFact is a fact that a file of the model states, such as a model card.
	FileFact LineageOrigin = "File"
)

// LineageKind is what a fact of a lineage is about.
//
// +kubebuilder:validation:Enum=Workload;Image;BaseModel;Dataset;Code;Run;Parameter;Metric;License;Property
type LineageKind string

const (
	// WorkloadFact is the workload that trained the model: name is its kind and name, digest
	// its UID as "uid:…", value when it started and ended, as "START/END" in the format of
	// RFC 3339. START alone is of one that has not ended.
	WorkloadFact LineageKind = "Workload"
	// ImageFact is an image of the training's pods: name is the reference in the pod, uri the
	// one by digest that was pulled.
	ImageFact LineageKind = "Image"
	// BaseModelFact is a model from which the training started. If it is declared or observed
	// to be a ModelVersion of the same namespace, name is "ModelVersion " and its name.
	BaseModelFact LineageKind = "BaseModel"
	// DatasetFact is data that the model was trained with.
	DatasetFact LineageKind = "Dataset"
	// CodeFact is the source code of the training.
	CodeFact LineageKind = "Code"
	// RunFact is a run in an experiment tracker.
	RunFact LineageKind = "Run"
	// ParameterFact is a parameter of the training.
	ParameterFact LineageKind = "Parameter"
	// MetricFact is what was measured.
	MetricFact LineageKind = "Metric"
	// LicenseFact is a license of the model: value is its identifier.
	LicenseFact LineageKind = "License"
	// PropertyFact is another property of the model, such as task, architecture or format:
	// name says which.
	PropertyFact LineageKind = "Property"
)

// LineageFact is one fact about a model, and who states it. Its texts are those of users:
// escape them before you show them.
type LineageFact struct {
	// origin is who states the fact. The fact has not been checked beyond that.
	// +required
	Origin LineageOrigin `json:"origin,omitempty"`
	// kind is what the fact is about.
	// +required
	Kind LineageKind `json:"kind,omitempty"`
	// name is the name of the thing, parameter, metric or property.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`
	// uri is where the thing is. Of a base model that is a ModelVersion, it is its image.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	URI string `json:"uri,omitempty"`
	// digest is its digest, as "ALGORITHM:DIGEST", for example sha256:9f86d0… or
	// gitCommit:1a2b3c….
	// +optional
	// +kubebuilder:validation:MaxLength=300
	Digest string `json:"digest,omitempty"`
	// value is the value of a parameter, metric, license or property.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value,omitempty"`
	// dataset is the data on which a metric was measured.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Dataset string `json:"dataset,omitempty"`
	// source is where the fact is stated: a file of the model for the origin File, or the
	// object in which it was declared.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Source string `json:"source,omitempty"`
	// contradicts is which other fact cannot be true if this one is, in a few words; empty
	// if there is none.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Contradicts string `json:"contradicts,omitempty"`
}
