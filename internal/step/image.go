package step

import (
	"flag"
	"fmt"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/kaniko"
	"github.com/modelkiln/modelkiln/internal/step/lineage"
)

// imageFlags are the flags of the steps that make an image, whatever with.
type imageFlags struct {
	registryFlags
	baseImage                            string
	model, modelVersion, modelVersionUID string
	createdBy                            string
}

func (f *imageFlags) defineImage(flags *flag.FlagSet) {
	f.defineRegistry(flags)
	flags.StringVar(&f.baseImage, "base-image", "", "the image to put the model on, or scratch")
	flags.StringVar(&f.model, "model", "", "the name of the Model")
	flags.StringVar(&f.modelVersion, "model-version", "", "the name of the ModelVersion")
	flags.StringVar(&f.modelVersionUID, "model-version-uid", "", "the UID of the ModelVersion")
	flags.StringVar(&f.createdBy, "created-by", "", "who made the model, URL query-escaped")
}

// order is an image that is to be made.
type order struct {
	job
	config registry.Config
	tag    name.Tag
}

// order reads what mount-check has left. There is nothing to make when the
// registry holds the image already.
func (f *imageFlags) order(shared string) (made order, nothing bool, err error) {
	soFar, err := report.Read(shared)
	if err != nil {
		return order{}, false, err
	}
	if soFar.Source != nil && soFar.Source.AlreadyPushed {
		return order{}, true, nil
	}
	if made.job, err = readJob(shared); err != nil {
		return order{}, false, err
	}
	if made.Base.Name != f.baseImage {
		return order{}, false, fmt.Errorf("the steps were given different base images: %q and %q", made.Base.Name, f.baseImage)
	}
	if made.config, err = f.config(); err != nil {
		return order{}, false, err
	}
	if made.tag, err = made.config.Tag(f.image); err != nil {
		return order{}, false, failure.New(v1alpha1.ReasonInvalidSpec, "the image cannot be pushed: %v", err)
	}
	return made, false, nil
}

// nothingToBuild is what the log says when the registry holds the image.
const nothingToBuild = "the registry holds this version with these files already: nothing to build"

// lineage is what an image's labels say of where it comes from.
func (f *imageFlags) lineage(of order) lineage.Lineage {
	from := lineage.Lineage{
		Model: f.model, ModelVersion: f.modelVersion, ModelVersionUID: f.modelVersionUID,
		Tag: of.tag.TagStr(), CreatedBy: unescape(f.createdBy),
	}
	if of.Base.Name != kaniko.Scratch {
		from.Base, from.BaseDigest = of.Base.Name, of.Base.Digest
	}
	return from
}

// unescape decodes free text that travelled URL query-escaped. What a person
// wrote by hand, and is no such code, is taken as it is.
func unescape(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}
