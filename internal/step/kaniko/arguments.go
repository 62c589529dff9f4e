package kaniko

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

// invocation is one call of Kaniko's executor.
type invocation struct {
	// Context is the directory with the Dockerfile, an absolute path.
	Context string
	// Destination is the image to push: registry, repository and tag.
	Destination string
	// DigestFile is where Kaniko writes the digest of the image, an absolute path.
	DigestFile string
	// PlainHTTP lists the registry hosts of this build that are accessed over
	// plain HTTP, to pull or to push.
	PlainHTTP []string
	// HTTPS lists the registry hosts of this build that are accessed over HTTPS.
	HTTPS []string
	// CAFile is a bundle of certificate authorities to trust for HTTPS; empty is
	// none.
	CAFile string
	// IgnoredDir is a directory whose content is not part of the image.
	IgnoredDir string
	// Zstd compresses the layers with Zstandard at its fastest level, which hardly
	// compresses weights, in a fraction of gzip's time. Kaniko ignores it if the
	// base image is in Docker's format.
	Zstd bool
	// Labels are the image's labels.
	Labels map[string]string
}

// dockerfileName is the name of the Dockerfile in the context.
const dockerfileName = "Dockerfile"

// arguments returns the arguments of the executor. No shell interprets them.
func (i invocation) arguments() []string {
	args := []string{
		"--context=dir://" + i.Context,
		"--dockerfile=" + filepath.Join(i.Context, dockerfileName),
		"--destination=" + i.Destination,
		"--digest-file=" + i.DigestFile,
		// Otherwise Kaniko holds whole compressed layers in memory.
		"--compressed-caching=false",
		// Otherwise Kaniko reads every file once more to detect changes that
		// cannot happen here: comparing sizes and times is enough.
		"--snapshot-mode=redo",
		"--cache=false",
		"--ignore-path=" + i.IgnoredDir,
		"--push-retry=3",
		"--image-download-retry=3",
		// mount-check has checked it, with the same credentials.
		"--skip-push-permission-check",
		// Kaniko's detection of containers fails on some nodes. This program
		// runs only in the workflow's pod.
		"--force",
		"--log-format=color",
	}
	if i.Zstd {
		args = append(args, "--compression=zstd", "--compression-level=1")
	}
	for _, host := range i.PlainHTTP {
		args = append(args, "--insecure-registry="+host)
	}
	if i.CAFile != "" {
		for _, host := range i.HTTPS {
			args = append(args, "--registry-certificate="+host+"="+i.CAFile)
		}
	}
	// Kaniko takes everything after the first "=" as the value, without quotes or
	// variables. In the Dockerfile, the parser would expand variables.
	for _, key := range slices.Sorted(maps.Keys(i.Labels)) {
		args = append(args, "--label="+key+"="+i.Labels[key])
	}
	return args
}

// credentialVariables are the variables from which Kaniko's registry library
// would read other credentials than those of the push secret.
var credentialVariables = []string{"DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"}

// environmentWith returns the environment for the executor: that of this process, with
// the credentials in credentialsDir, which holds a config.json or nothing, and in
// no other place, and with the credential helper there.
func environmentWith(credentialsDir string, shared handoff.Dir) []string {
	environment := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(credentialVariables, name)
	})
	path := strings.TrimSuffix(credentialsDir+string(os.PathListSeparator)+os.Getenv("PATH"), string(os.PathListSeparator))
	return append(environment, "DOCKER_CONFIG="+credentialsDir, "PATH="+path, SharedVariable+"="+string(shared))
}
