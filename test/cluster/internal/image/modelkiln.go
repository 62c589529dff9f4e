package image

import (
	"fmt"
	"os"
	"path"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ModelkilnPrograms are Modelkiln's programs: the operator, and the steps of a build. Each has an image.
var ModelkilnPrograms = []string{"modelkiln", "modelkiln-step"}

// modelkilnRepository, followed by a program's name, is the repository that deploy/ and workflow-templates/ name.
const modelkilnRepository = "ghcr.io/modelkiln/"

// programDir is where ko puts the program of an image, and so where deploy/ and workflow-templates/ look for it.
const programDir = "/ko-app"

// ModelkilnSpecs describes Modelkiln's images, built from the programs in a directory. They have the shape of those that
// `make push-images` publishes.
func ModelkilnSpecs(programs string) ([]Spec, error) {
	if _, err := os.Stat(caBundle); err != nil {
		return nil, fmt.Errorf("%s is missing, and without it Modelkiln trusts no registry; install the package ca-certificates", caBundle)
	}
	specs := make([]Spec, len(ModelkilnPrograms))
	for i, program := range ModelkilnPrograms {
		var err error
		if specs[i], err = modelkilnSpec(program, filepath.Join(programs, program)); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

// modelkilnSpec describes the image of one program. Its tag is derived from the image's content: a changed program rolls the
// Deployment of a running cluster, and an unchanged one does not.
func modelkilnSpec(program, source string) (Spec, error) {
	installed := path.Join(programDir, program)
	spec := Spec{
		Name: modelkilnRepository + program,
		Files: map[string]File{
			installed: {Source: source},
			caBundle:  {Source: caBundle, Mode: 0o644},
		},
		Config: v1.Config{
			Entrypoint: []string{installed},
			User:       nonRootOther + ":" + nonRootOther,
		},
	}
	digest, err := spec.Digest()
	if err != nil {
		return Spec{}, err
	}
	spec.Name += ":content-" + digest.Hex[:12]
	return spec, nil
}
