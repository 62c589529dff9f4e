package image

import (
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/test/cluster/internal/tool"
)

// TrainingSpecs describes the images of the training controllers.
func TrainingSpecs(tools map[string]tool.Tool) []Spec {
	var specs []Spec
	for _, name := range tool.TrainingNames() {
		specs = append(specs, Spec{
			Name: domain + name + ":" + TrainingTag(tools[name]),
			Files: map[string]File{
				// The path that the manifests of all controllers name.
				"/manager": {Source: tools[name].Program(name)},
				"/tmp":     {Mode: 0o1777},
			},
			Config: v1.Config{Entrypoint: []string{"/manager"}, User: nonRootOther},
		})
	}
	return specs
}

// TrainingTag returns a tag that changes with everything that determines the compiled controller, so that a running node
// receives a changed one: these controllers are added to clusters that run already.
func TrainingTag(of tool.Tool) string {
	return strings.TrimPrefix(filepath.Base(of.Dir), of.Name()+"-")
}

// TrainerSpec describes the image of a program that trains and serves a model. It runs as root, which owns the directory
// that is created for a training.
func TrainerSpec(name, program string) Spec {
	at := "/" + filepath.Base(program)
	return Spec{
		Name:   name,
		Files:  map[string]File{at: {Source: program}},
		Config: v1.Config{Entrypoint: []string{at}},
	}
}
