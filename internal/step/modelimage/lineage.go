package modelimage

import (
	"time"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/text"
)

// maxLabelLength is the maximum number of characters of a label's value.
const maxLabelLength = 1024

// Labels with the creator of the model.
const (
	labelAuthors   = "org.opencontainers.image.authors"
	LabelCreatedBy = "model.kubedl.io/created-by"
)

// Labels with the base image, by its name and by the digest of the variant.
const (
	LabelBaseName   = "org.opencontainers.image.base.name"
	LabelBaseDigest = "org.opencontainers.image.base.digest"
)

// LabelCreated is the label, and the annotation of manifests, with the time at which
// an image was created, in the format of RFC 3339.
const LabelCreated = "org.opencontainers.image.created"

// labelTitle is the label with the name of the Model for other tools.
const labelTitle = "org.opencontainers.image.title"

// AnnotationStatDigest is the annotation of a layer, in the image's manifest, with
// the layer.StatDigest of its files. The layer's digest does not depend on it.
const AnnotationStatDigest = "model.kubedl.io/stat"

// Lineage is the origin of an image. Empty fields have no label.
type Lineage struct {
	// Model and ModelVersion are the names of the objects.
	Model, ModelVersion string
	// ModelVersionUID identifies the image's ModelVersion to later builds.
	ModelVersionUID string
	// Tag is the image's tag.
	Tag string
	// CreatedBy is the creator of the model, as free text.
	CreatedBy string
	// Created is when the ModelVersion was created; zero if that is not known.
	Created time.Time
	// Source is the URL of storage that is not mounted, and Revision is the commit, or
	// the digest of the listing, from which the files were read.
	Source, Revision string
	// Base is the base image.
	Base handoff.BaseImage
}

// Labels returns the labels of the image on a variant of the base image. They do not
// contain the time of the build, so that the same files give the same image.
func (l Lineage) Labels(variant handoff.BaseVariant) map[string]string {
	baseName := l.Base.Name
	if l.Base.IsScratch() {
		baseName = ""
	}
	pairs := []struct{ key, value string }{
		{labelTitle, l.Model},
		{"org.opencontainers.image.version", l.Tag},
		{labelAuthors, l.CreatedBy},
		{LabelCreated, l.CreatedLabel()},
		{"org.opencontainers.image.source", l.Source},
		{"org.opencontainers.image.revision", l.Revision},
		{LabelBaseName, baseName},
		{LabelBaseDigest, variant.Digest},
		{v1alpha1.LabelModelName, l.Model},
		{v1alpha1.LabelModelVersion, l.ModelVersion},
		{v1alpha1.LabelModelVersionUID, l.ModelVersionUID},
		{LabelCreatedBy, l.CreatedBy},
	}
	labels := map[string]string{}
	for _, pair := range pairs {
		if value := text.OneLine(pair.value, maxLabelLength); value != "" {
			labels[pair.key] = value
		}
	}
	return labels
}

// CreatedLabel returns the value of LabelCreated, or "" if the time is not known.
func (l Lineage) CreatedLabel() string {
	if l.Created.IsZero() {
		return ""
	}
	return l.Created.UTC().Format(time.RFC3339)
}

// FreeLabels returns the labels that can have any value in an image of this lineage:
// who built it and when, and what empty fields would name.
func (l Lineage) FreeLabels() []string {
	free := []string{v1alpha1.LabelModelVersionUID, labelAuthors, LabelCreatedBy, LabelCreated}
	if l.Model == "" {
		free = append(free, labelTitle, v1alpha1.LabelModelName)
	}
	if l.ModelVersion == "" {
		free = append(free, v1alpha1.LabelModelVersion)
	}
	return free
}
