package kaniko

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// invocation is one call of Kaniko's executor.
type invocation struct {
	// Context is the directory with the Dockerfile, an absolute path.
	Context string
	// BaseHost is the registry host of the base image; empty if there is none.
	BaseHost string
	// PlainHTTP is whether that host is accessed over plain HTTP.
	PlainHTTP bool
	// CAFile is a bundle of certificate authorities to trust for HTTPS; empty is
	// none.
	CAFile string
	// IgnoredDir is a directory whose content is not part of the image.
	IgnoredDir string
}

// dockerfileName is the name of the Dockerfile in the context.
const dockerfileName = "Dockerfile"

// arguments returns the arguments of the executor. No shell interprets them.
func (i invocation) arguments() []string {
	args := []string{
		"--context=dir://" + i.Context,
		"--dockerfile=" + filepath.Join(i.Context, dockerfileName),
		// The layers are read from Kaniko's directory, and pushed by this program.
		"--no-push",
		// Kaniko compresses each layer to compute a digest that is not used. Otherwise
		// it would hold whole compressed layers in memory, and take several times as
		// long. It ignores the algorithm if the base image is in Docker's format.
		"--compressed-caching=false",
		"--compression=zstd",
		"--compression-level=1",
		// Otherwise Kaniko reads every file once more to detect changes that
		// cannot happen here: comparing sizes and times is enough.
		"--snapshot-mode=redo",
		"--cache=false",
		"--ignore-path=" + i.IgnoredDir,
		"--image-download-retry=3",
		// Kaniko's detection of containers fails on some nodes. This program
		// runs only in the workflow's pod.
		"--force",
		"--log-format=color",
	}
	switch {
	case i.BaseHost == "":
	case i.PlainHTTP:
		args = append(args, "--insecure-registry="+i.BaseHost)
	case i.CAFile != "":
		args = append(args, "--registry-certificate="+i.BaseHost+"="+i.CAFile)
	}
	return args
}

// credentialVariables are the variables from which Kaniko's registry library
// would read other credentials than those of the push secret.
var credentialVariables = []string{"DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"}

// environmentWith returns the environment for the executor: that of this process, with
// the credentials in credentialsDir, which holds a config.json or nothing, and in
// no other place.
func environmentWith(credentialsDir string) []string {
	environment := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(credentialVariables, name)
	})
	return append(environment, "DOCKER_CONFIG="+credentialsDir)
}
