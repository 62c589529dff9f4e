// Package kaniko is everything that Modelkiln knows about Kaniko: how it is
// told what to build, how it is run, what its last words mean, and where it
// makes the layers that it pushes.
//
// It was written against the source of chainguard-dev/kaniko v1.25.5 and of
// osscontainertools/kaniko v1.28, and uses only what both have.
package kaniko

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Scratch is the base image that is none.
const Scratch = "scratch"

// noUser takes the base image's user back, so that commands run as the builder
// does, as root. To name root instead would have Kaniko look it up in files
// that not every base image has.
const noUser = `USER ""`

// Dockerfile says how the image is made. Nothing that a person wrote reaches
// its text but the base image and that image's user, and both are checked.
type Dockerfile struct {
	// Base is the base image by digest, or Scratch.
	Base string
	// User is the user of the base image's config; empty is root.
	User string
	// Program is the path of the program that packs, and Arguments are its
	// arguments before --layer or --manifest.
	Program   string
	Arguments []string
	// Layers is the number of layers to pack.
	Layers int
}

var (
	// safeUser is what users look like: a name or number, and perhaps a group.
	safeUser = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?\z`)
	// safeWord is what may be part of a command.
	safeWord = regexp.MustCompile(`\A[A-Za-z0-9_./=-]+\z`)
)

// Text returns the Dockerfile's text, or an error that says which part of it
// is not safe.
//
// Files are copied by the program and not by COPY, because COPY reads
// wildcards and variables in names, heeds a .dockerignore in the model, and
// takes modes and owners from the source.
func (d Dockerfile) Text() (string, error) {
	if err := d.check(); err != nil {
		return "", err
	}
	lines := []string{"FROM " + d.Base}
	if d.User != "" {
		lines = append(lines, noUser)
	}
	for i := range d.Layers {
		lines = append(lines, d.run(fmt.Sprintf("--layer=%d", i)))
	}
	lines = append(lines, d.run("--manifest"))
	if d.User != "" {
		lines = append(lines, "USER "+d.User)
	}
	lines = append(lines, fmt.Sprintf("ENV %s=%s", v1alpha1.ModelPathEnv, v1alpha1.ModelPath))
	return strings.Join(lines, "\n") + "\n", nil
}

func (d Dockerfile) check() error {
	if d.Base != Scratch {
		digest, err := name.NewDigest(d.Base)
		if err != nil || digest.Name() != d.Base {
			return fmt.Errorf("the base image %q is not a reference by digest", d.Base)
		}
	}
	if d.User != "" && !safeUser.MatchString(d.User) {
		return fmt.Errorf("the base image's user %q is neither a name nor a number", d.User)
	}
	for _, word := range append([]string{d.Program}, d.Arguments...) {
		if !safeWord.MatchString(word) {
			return fmt.Errorf("%q cannot be part of a command", word)
		}
	}
	return nil
}

// run returns an instruction that starts the program without a shell, which a
// base image need not have.
func (d Dockerfile) run(argument string) string {
	words := append(append([]string{d.Program, "pack"}, d.Arguments...), argument)
	// Words are checked, so that encoding cannot fail.
	command, _ := json.Marshal(words)
	return "RUN " + string(command)
}
