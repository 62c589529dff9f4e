package image

import (
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/test/cluster/internal/tool"
)

// TrainingSpecs are the images of the controllers of training.
func TrainingSpecs(tools map[string]tool.Tool) []Spec {
	var specs []Spec
	for _, name := range tool.TrainingNames() {
		specs = append(specs, Spec{
			Name: domain + name + ":" + TrainingTag(tools[name]),
			Files: map[string]File{
				// Where the manifests of all of them look for it.
				"/manager": {Source: tools[name].Program(name)},
				"/tmp":     {Mode: 0o1777},
			},
			Config: v1.Config{Entrypoint: []string{"/manager"}, User: nonRootOther},
		})
	}
	return specs
}

// TrainingTag changes with all that decides what the controller compiles to, so that a node that runs can be given
// another one: the cluster that is asked for these controllers is the one that ran without them.
func TrainingTag(of tool.Tool) string {
	return strings.TrimPrefix(filepath.Base(of.Dir), of.Name()+"-")
}

// TrainerSpec is the image of a program that trains and serves. It runs as root, to whom the folder belongs that is made for
// a training.
func TrainerSpec(name, program string) Spec {
	at := "/" + filepath.Base(program)
	return Spec{
		Name:   name,
		Files:  map[string]File{at: {Source: program}},
		Config: v1.Config{Entrypoint: []string{at}},
	}
}
