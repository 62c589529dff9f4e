package sign

import "time"

// ProvenancePredicate is the type of SLSA's provenance
// (https://slsa.dev/spec/v1.0/provenance).
const ProvenancePredicate = "https://slsa.dev/provenance/v1"

// BuildType says what the fields of the provenance of a build mean: the section that it
// links to. The provenance of a training has TrainingType.
const BuildType = "https://github.com/modelkiln/modelkiln/blob/main/api/docs/verify.md#provenance"

// DefaultBuilderID is the builder of a platform that is not named.
const DefaultBuilderID = "https://github.com/modelkiln/modelkiln"

// Provenance says how an image was built.
type Provenance struct {
	// BuilderID is a URI that names the platform.
	BuilderID string
	// Version is the version of the step that signs.
	Version string
	// Request is what the build was asked for.
	Request Request
	// Dependencies are what the build used.
	Dependencies []Dependency
	// Invocation identifies the Workflow: NAMESPACE/workflows/NAME/UID.
	Invocation string
	// Started is when the Workflow was created; zero if that is not known.
	Started time.Time
}

// Request is what a build was asked for. Empty fields are left out.
type Request struct {
	// Image is the reference with the tag.
	Image string `json:"image"`
	// Source is where the files are stored, in words or as a URL.
	Source string `json:"source"`
	// Include and Exclude are the patterns by which files are selected.
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	// BaseImage is the base image by its name.
	BaseImage string `json:"baseImage,omitempty"`
	// ModelPath is the directory of the image that holds the model.
	ModelPath string `json:"modelPath"`
	// Model and ModelVersion are the names of the objects, ModelVersionUID is the UID of
	// the ModelVersion, and CreatedBy is its creator as free text.
	Model           string `json:"model,omitempty"`
	ModelVersion    string `json:"modelVersion,omitempty"`
	ModelVersionUID string `json:"modelVersionUID,omitempty"`
	CreatedBy       string `json:"createdBy,omitempty"`
}

// Dependency is something that a build or a training used, or what else came of it.
type Dependency struct {
	Name string `json:"name,omitempty"`
	URI  string `json:"uri,omitempty"`
	// Digest are digests in hexadecimal by algorithm.
	Digest map[string]string `json:"digest,omitempty"`
	// Annotations are further facts.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// provenance is the predicate.
type provenance struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string         `json:"buildType"`
	ExternalParameters   any            `json:"externalParameters"`
	InternalParameters   map[string]any `json:"internalParameters,omitempty"`
	ResolvedDependencies []Dependency   `json:"resolvedDependencies,omitempty"`
}

type runDetails struct {
	Builder    builder      `json:"builder"`
	Metadata   metadata     `json:"metadata,omitzero"`
	Byproducts []Dependency `json:"byproducts,omitempty"`
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

type metadata struct {
	InvocationID string `json:"invocationId,omitempty"`
	StartedOn    string `json:"startedOn,omitempty"`
	FinishedOn   string `json:"finishedOn,omitempty"`
}

// SignProvenance returns the bundle that attests how an image was built.
func (k *Key) SignProvenance(image Image, p Provenance) ([]byte, error) {
	predicate := provenance{
		BuildDefinition: buildDefinition{BuildType: BuildType, ExternalParameters: p.Request, ResolvedDependencies: p.Dependencies},
		RunDetails:      runDetails{Builder: builder{ID: p.BuilderID}, Metadata: metadata{InvocationID: p.Invocation}},
	}
	if p.Version != "" {
		predicate.RunDetails.Builder.Version = map[string]string{"modelkiln-step": p.Version}
	}
	predicate.RunDetails.Metadata.StartedOn = timestamp(p.Started)
	return k.signStatement(image.statement(ProvenancePredicate, predicate), k.public.hint())
}

// timestamp returns a time as provenances have it; nothing if it is not known.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
