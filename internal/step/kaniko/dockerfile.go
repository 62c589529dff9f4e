package kaniko

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

// PackCommand is the command of modelkiln-step that Kaniko runs.
const PackCommand = "pack"

// resetUser removes the base image's user, so that commands run as root, like
// Kaniko. For "USER root", Kaniko would look up the user in files that not every
// base image has.
const resetUser = `USER ""`

// dockerfile is the Dockerfile of an image. Of what users control, its text
// contains only the base image and that image's user, and both are checked.
type dockerfile struct {
	// Base is the base image by digest, or handoff.Scratch.
	Base string
	// User is the user of the base image's config; empty is root.
	User string
	// Program is the path of modelkiln-step, and Arguments are the arguments of
	// PackCommand before --layer or --manifest.
	Program   string
	Arguments []string
	// Layers is the number of layers to pack.
	Layers int
}

var (
	// safeUser matches a name or number, optionally with a group.
	safeUser = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?\z`)
	// safeArgument matches what may be part of a command.
	safeArgument = regexp.MustCompile(`\A[A-Za-z0-9_./=-]+\z`)
)

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
	if d.User != "" {
		lines = append(lines, resetUser)
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

func (d dockerfile) check() error {
	if d.Base != handoff.Scratch {
		digest, err := name.NewDigest(d.Base)
		if err != nil || digest.Name() != d.Base {
			return fmt.Errorf("the base image %q is not a reference by digest", d.Base)
		}
	}
	if d.User != "" && !safeUser.MatchString(d.User) {
		return fmt.Errorf("the base image's user %q is neither a name nor a number", d.User)
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
