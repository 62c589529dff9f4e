package image

import (
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ModelkilnRepository is what the manifests in deploy/ and workflow-templates/ call Modelkiln's image, but for the tag.
const ModelkilnRepository = "ghcr.io/modelkiln/modelkiln"

// ModelkilnPrograms are the programs in Modelkiln's image: the operator, and what the steps of a build run.
var ModelkilnPrograms = []string{"modelkiln", "modelkiln-step"}

// ModelkilnSpec is Modelkiln's image, made of the programs in a folder. Its tag is a digest of all that is in it, so that
// a cluster that is given a changed one notices, and one that is given the same does nothing.
func ModelkilnSpec(programs string) (Spec, error) {
	if _, err := os.Stat(caBundle); err != nil {
		return Spec{}, fmt.Errorf("%s is missing, without which Modelkiln's image trusts no registry; install the package ca-certificates", caBundle)
	}
	spec := Spec{
		Name:  ModelkilnRepository,
		Files: map[string]File{caBundle: {Source: caBundle, Mode: 0o644}},
		Config: v1.Config{
			Entrypoint: []string{"/modelkiln"},
			User:       nonRootOther + ":" + nonRootOther,
		},
	}
	for _, program := range ModelkilnPrograms {
		spec.Files["/"+program] = File{Source: filepath.Join(programs, program)}
	}
	tag, err := spec.contentTag()
	if err != nil {
		return Spec{}, err
	}
	spec.Name = ModelkilnRepository + ":" + tag
	return spec, nil
}

// contentTag is a tag that changes with the image.
func (s Spec) contentTag() (string, error) {
	digest, err := s.Digest()
	if err != nil {
		return "", err
	}
	return "content-" + digest.Hex[:12], nil
}
