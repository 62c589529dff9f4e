// Package lineage is what an image's labels say of where it comes from.
package lineage

import (
	"strings"
	"unicode"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// maxLabelLength is the largest number of characters of a label's value.
const maxLabelLength = 1024

// labelCreatedBy is the label with who made the model.
const labelCreatedBy = "model.kubedl.io/created-by"

// Lineage is what the image's labels say of where it comes from. Empty fields
// have no label.
type Lineage struct {
	// Model and ModelVersion are the names of the objects.
	Model, ModelVersion string
	// ModelVersionUID is what a later build knows its own image by.
	ModelVersionUID string
	// Tag is the image's tag.
	Tag string
	// CreatedBy is who made the model: free text.
	CreatedBy string
	// Base is the base image as it was asked for, and BaseDigest the digest
	// that it had.
	Base, BaseDigest string
}

// Labels returns the labels. The time of the build is left out: an image is not
// another one for having been built later.
func (l Lineage) Labels() map[string]string {
	pairs := []struct{ key, value string }{
		{"org.opencontainers.image.title", l.Model},
		{"org.opencontainers.image.version", l.Tag},
		{"org.opencontainers.image.authors", l.CreatedBy},
		{"org.opencontainers.image.base.name", l.Base},
		{"org.opencontainers.image.base.digest", l.BaseDigest},
		{v1alpha1.LabelModelName, l.Model},
		{v1alpha1.LabelModelVersion, l.ModelVersion},
		{v1alpha1.LabelModelVersionUID, l.ModelVersionUID},
		{labelCreatedBy, l.CreatedBy},
	}
	labels := map[string]string{}
	for _, pair := range pairs {
		if value := labelValue(pair.value); value != "" {
			labels[pair.key] = value
		}
	}
	return labels
}

// labelValue keeps what can be printed of a text.
func labelValue(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxLabelLength {
		return string(runes[:maxLabelLength])
	}
	return text
}
