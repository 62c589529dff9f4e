package sign

import "time"

// TrainingType says what the fields of the provenance of a training mean: the section that
// it links to.
const TrainingType = "https://github.com/modelkiln/modelkiln/blob/main/api/docs/verify.md#training"

// Training says from what a model was made, as far as that is stated. The same facts make
// the same statement, whichever build attests them.
type Training struct {
	// BuilderID is a URI that names the platform that has collected the facts.
	BuilderID string
	// Parameters are the values of the training's parameters by origin and name.
	Parameters map[string]map[string]string
	// Dependencies are what the training used, and Byproducts what else is stated about the
	// model.
	Dependencies, Byproducts []Dependency
	// Files are the files of the model, and Model is its name; nil if the image does not list
	// their digests.
	Files *Files
	Model string
	// Omitted is how many facts are left out.
	Omitted int64
	// Invocation identifies the workload that trained the model; empty if it is not known.
	Invocation string
	// Started and Finished are when the workload did; zero if that is not known.
	Started, Finished time.Time
}

// SignTraining returns the bundle that attests from what the model in an image was made. It
// is about the image and about its files.
func (k *Key) SignTraining(image Image, t Training) ([]byte, error) {
	predicate := provenance{
		BuildDefinition: buildDefinition{BuildType: TrainingType, ExternalParameters: t.Parameters, ResolvedDependencies: t.Dependencies},
		RunDetails: runDetails{
			Builder: builder{ID: t.BuilderID}, Byproducts: t.Byproducts,
			Metadata: metadata{InvocationID: t.Invocation, StartedOn: timestamp(t.Started), FinishedOn: timestamp(t.Finished)},
		},
	}
	if t.Parameters == nil {
		predicate.BuildDefinition.ExternalParameters = struct{}{}
	}
	if t.Omitted > 0 {
		predicate.BuildDefinition.InternalParameters = map[string]any{"omittedFacts": t.Omitted}
	}
	s := image.statement(ProvenancePredicate, predicate)
	if t.Files != nil {
		s.Subject = append(s.Subject, t.Files.subject(t.Model))
	}
	return k.signStatement(s, k.public.hint())
}
