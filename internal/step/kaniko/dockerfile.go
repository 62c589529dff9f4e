package kaniko

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

// PackCommand is the command of modelkiln-step that Kaniko runs.
const PackCommand = "pack"

// resetUser removes the base image's user, so that commands run as root, like
// Kaniko. For "USER root", Kaniko would look up the user in files that not every
// base image has.
const resetUser = `USER ""`

// dockerfile is the Dockerfile of which Kaniko builds the layers of a model. The
// image's config is not Kaniko's. Of what users control, the text contains only the
// base image, which is checked.
type dockerfile struct {
	// Base is the base image by digest, or handoff.Scratch.
	Base string
	// HasUser is whether the base image's config has a user.
	HasUser bool
	// Program is the path of modelkiln-step, and Arguments are the arguments of
	// PackCommand before --layer or --finish.
	Program   string
	Arguments []string
	// Layers is the number of layers to pack.
	Layers int
}

// safeArgument matches what may be part of a command.
var safeArgument = regexp.MustCompile(`\A[A-Za-z0-9_./=-]+\z`)

// text returns the text of the Dockerfile, or an error for a part that is not
// safe.
//
// The program copies the files, because COPY expands wildcards and variables in
// names, applies a .dockerignore of the model, and keeps the modes and owners of
// the source.
func (d dockerfile) text() (string, error) {
	if err := d.check(); err != nil {
		return "", err
	}
	lines := []string{"FROM " + d.Base}
	if d.HasUser {
		lines = append(lines, resetUser)
	}
	for i := range d.Layers {
		lines = append(lines, d.run(fmt.Sprintf("--layer=%d", i)))
	}
	lines = append(lines, d.run("--finish"))
	return strings.Join(lines, "\n") + "\n", nil
}

func (d dockerfile) check() error {
	if d.Base != handoff.Scratch {
		digest, err := name.NewDigest(d.Base)
		if err != nil || digest.Name() != d.Base {
			return fmt.Errorf("the base image %q is not a reference by digest", d.Base)
		}
	}
	for _, argument := range append([]string{d.Program}, d.Arguments...) {
		if !safeArgument.MatchString(argument) {
			return fmt.Errorf("%q is not allowed in a command", argument)
		}
	}
	return nil
}

// run returns an instruction that starts the program without a shell, which not
// every base image has.
func (d dockerfile) run(argument string) string {
	// The arguments are checked, so that encoding cannot fail.
	command, _ := json.Marshal(append(append([]string{d.Program, PackCommand}, d.Arguments...), argument))
	return "RUN " + string(command)
}
