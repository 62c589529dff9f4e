package tool

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
)

// definition says what is built from one module under test/cluster/tools, whose go.mod pins the version.
type definition struct {
	// name is the folder under test/cluster/tools.
	name string
	// module is the Go module whose version is the tool's.
	module string
	// versionFlags gives the linker flags that put the version into the programs; without them they report v0.0.0,
	// which misleads everything that asks.
	versionFlags func(version string) []string
	// links are further names for a program: a link's name, and the program it leads to.
	links map[string]string
	// build replaces the usual `go build tool`.
	build func(builder) error
	// effort tells how long a first compile takes on two cores.
	effort string
}

// definitions are of what every cluster consists of.
var definitions = []definition{
	{
		name:   "kubernetes",
		module: "k8s.io/kubernetes",
		versionFlags: func(version string) []string {
			major, minor := majorMinor(version)
			return []string{
				"k8s.io/component-base/version.gitVersion=" + version,
				"k8s.io/component-base/version.gitMajor=" + major,
				"k8s.io/component-base/version.gitMinor=" + minor,
			}
		},
		links: map[string]string{
			"kube-apiserver":          "kubernetes",
			"kube-controller-manager": "kubernetes",
			"kube-scheduler":          "kubernetes",
			"kubelet":                 "kubernetes",
			"kube-proxy":              "kubernetes",
		},
		effort: "about 6 minutes",
	},
	{
		name:   "etcd",
		module: "go.etcd.io/etcd/server/v3",
		links:  map[string]string{"etcd": "server"},
		effort: "half a minute",
	},
	{
		name:   "containerd",
		module: "github.com/containerd/containerd/v2",
		versionFlags: func(version string) []string {
			return []string{"github.com/containerd/containerd/v2/version.Version=" + version}
		},
		effort: "about a minute",
	},
	{
		name:   "registry",
		module: "github.com/distribution/distribution/v3",
		versionFlags: func(version string) []string {
			return []string{"github.com/distribution/distribution/v3/version.version=" + version}
		},
		effort: "about a minute",
	},
	{
		name:   "crane",
		module: "github.com/google/go-containerregistry",
		versionFlags: func(version string) []string {
			return []string{"github.com/google/go-containerregistry/cmd/crane/cmd.Version=" + version}
		},
		effort: "seconds",
	},
	{
		name:   "kaniko",
		module: "github.com/chainguard-dev/kaniko",
		versionFlags: func(version string) []string {
			return []string{"github.com/chainguard-dev/kaniko/pkg/version.version=" + version}
		},
		effort: "about a minute",
	},
	{
		name:   "argo",
		module: "github.com/argoproj/argo-workflows/v3",
		versionFlags: func(version string) []string {
			return []string{"github.com/argoproj/argo-workflows/v3.version=" + version}
		},
		build:  buildArgo,
		effort: "about 5 minutes",
	},
}

// trainingDefinitions are of what a cluster consists of that trains by more than Jobs.
var trainingDefinitions = []definition{
	{
		name:   "training-operator",
		module: "github.com/kubeflow/training-operator",
		links:  map[string]string{"training-operator": "training-operator.v1"},
		build:  withManifests("manifests"),
		effort: "about 2 minutes",
	},
	{
		name:   "jobset",
		module: "sigs.k8s.io/jobset",
		versionFlags: func(version string) []string {
			return []string{"sigs.k8s.io/jobset/pkg/version.GitVersion=" + version}
		},
		build:  withManifests("config"),
		effort: "about a minute",
	},
	{
		name:   "trainer",
		module: "github.com/kubeflow/trainer/v2",
		links:  map[string]string{"trainer": "trainer-controller-manager"},
		build:  withManifests("manifests"),
		effort: "about a minute",
	},
}

// Names of what every cluster consists of, in the order in which it is compiled.
func Names() []string { return namesOf(definitions) }

// TrainingNames are those of the controllers of training. A cluster does without them unless it is asked for them.
func TrainingNames() []string { return namesOf(trainingDefinitions) }

func namesOf(definitions []definition) []string {
	names := make([]string, len(definitions))
	for i, def := range definitions {
		names[i] = def.name
	}
	return names
}

// Tool is one module's programs, compiled or not yet.
type Tool struct {
	definition

	// Version is the pinned version of the module.
	Version string
	// Dir holds the compiled programs. Its name says the version and the content of the pin, so that a folder that is there is right.
	Dir string

	source string
}

// Name is that of the folder that pins the tool.
func (t Tool) Name() string { return t.name }

// Program is the path of one of the tool's programs.
func (t Tool) Program(name string) string {
	return filepath.Join(t.Dir, name)
}

// Find reads the pin of the named tool.
func Find(from checkout.Checkout, name string) (Tool, error) {
	for _, def := range slices.Concat(definitions, trainingDefinitions) {
		if def.name == name {
			return newTool(from, def)
		}
	}
	return Tool{}, fmt.Errorf("there is no tool called %s", name)
}

func newTool(from checkout.Checkout, def definition) (Tool, error) {
	source := from.Source("tools", def.name)
	version, content, err := readPin(source, def.module)
	if err != nil {
		return Tool{}, err
	}
	if def.versionFlags != nil {
		content = append(content, strings.Join(def.versionFlags(version), " ")...)
	}
	digest := sha256.Sum256(content)
	key := fmt.Sprintf("%s-%s-%x", def.name, version, digest[:5])
	return Tool{
		definition: def,
		Version:    version,
		Dir:        filepath.Join(from.Cache, "tools", key),
		source:     source,
	}, nil
}

// readPin gives the version of module in the go.mod of dir, and everything that decides what it compiles to: the names
// and contents of the folder's files.
func readPin(dir, module string) (version string, content []byte, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", nil, fmt.Errorf("cannot read the pinned version of a tool: %w", err)
	}
	for _, entry := range entries {
		file, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return "", nil, fmt.Errorf("cannot read the pinned version of a tool: %w", err)
		}
		content = append(append(content, entry.Name()...), file...)
		if entry.Name() == "go.mod" {
			version = requiredVersion(string(file), module)
		}
	}
	if version == "" {
		return "", nil, fmt.Errorf("%s does not require %s; restore it from git", filepath.Join(dir, "go.mod"), module)
	}
	return version, content, nil
}

// requiredVersion is the version at which a go.mod requires module, or nothing.
func requiredVersion(goMod, module string) string {
	for line := range strings.Lines(goMod) {
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(words) >= 2 && words[0] == module && strings.HasPrefix(words[1], "v") {
			return words[1]
		}
	}
	return ""
}

// majorMinor splits v1.35.4 into 1 and 35.
func majorMinor(version string) (major, minor string) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	return parts[0], parts[1]
}
