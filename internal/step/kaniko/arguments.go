package kaniko

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Invocation is one call of Kaniko's executor.
type Invocation struct {
	// Context is the folder with the Dockerfile, an absolute path.
	Context string
	// Destination is the image to push: registry, repository and tag.
	Destination string
	// PlainHTTP lists the hosts of this build that are talked to in plain
	// HTTP, whether to pull or to push.
	PlainHTTP []string
	// Encrypted lists the hosts of this build that are talked to in HTTPS.
	Encrypted []string
	// CAFile is a bundle of authorities to trust for Encrypted; empty is none.
	CAFile string
	// Ignored is a folder that is no part of the image, whatever is in there.
	Ignored string
	// Zstd has the layers compressed with zstd at its fastest, which leaves
	// weights about as large as they are, in a fraction of gzip's time. Kaniko
	// heeds it where the base image is in OCI's format.
	Zstd bool
	// Labels are the image's labels.
	Labels map[string]string
}

// DockerfileName is the name of the Dockerfile in the context.
const DockerfileName = "Dockerfile"

// Arguments returns the arguments of the executor. Each is one word to the
// system, whatever it holds: no shell sees them.
func (i Invocation) Arguments() []string {
	args := []string{
		"--context=dir://" + i.Context,
		"--dockerfile=" + filepath.Join(i.Context, DockerfileName),
		"--destination=" + i.Destination,
		// Otherwise whole compressed layers are held in memory.
		"--compressed-caching=false",
		// Otherwise every file is read once more, to notice changes that
		// cannot happen here: the size and time of a file tell enough.
		"--snapshot-mode=redo",
		"--cache=false",
		"--ignore-path=" + i.Ignored,
		"--push-retry=3",
		"--image-download-retry=3",
		// The step before has asked, with the same credentials.
		"--skip-push-permission-check",
		// The guess whether this is a container fails on some nodes. It is
		// one: this program is started by the workflow's pod and nothing else.
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
		for _, host := range i.Encrypted {
			args = append(args, "--registry-certificate="+host+"="+i.CAFile)
		}
	}
	// Kaniko takes everything behind the first "=" for the value, unquoted and
	// unexpanded. No label goes through the Dockerfile, whose parser would expand
	// variables.
	for _, key := range slices.Sorted(maps.Keys(i.Labels)) {
		args = append(args, "--label="+key+"="+i.Labels[key])
	}
	return args
}

// credentialVariables are what Kaniko's registry library would read other
// credentials from than those of the push secret.
var credentialVariables = []string{"DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"}

// Environment returns the environment for the executor: this process's, with
// the credentials in one folder only, which holds a config.json or nothing.
func Environment(credentialsFolder string) []string {
	environment := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(credentialVariables, name)
	})
	return append(environment, "DOCKER_CONFIG="+credentialsFolder)
}
