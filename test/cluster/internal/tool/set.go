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

// definition describes the programs that are built from one module under test/cluster/tools, whose go.mod pins the version.
type definition struct {
	// name is the name of the directory under test/cluster/tools.
	name string
	// module is the Go module whose version is the tool's.
	module string
	// versionFlags returns the linker variables that set the programs' version. Without them, the programs report v0.0.0,
	// which misleads users and other programs.
	versionFlags func(version string) []string
	// links maps symbolic links to the programs that they point to.
	links map[string]string
	// build replaces the default, `go build tool`.
	build func(builder) error
	// compileTime is the approximate time of the first compilation on two cores.
	compileTime string
}

// definitions are the tools of every cluster.
var definitions = []definition{
	{
		name:         Kubernetes,
		module:       "k8s.io/kubernetes",
		versionFlags: kubernetesVersion,
		links: map[string]string{
			"kube-apiserver":          "kubernetes",
			"kube-controller-manager": "kubernetes",
			"kube-scheduler":          "kubernetes",
			"kubelet":                 "kubernetes",
			"kube-proxy":              "kubernetes",
		},
		compileTime: "about 6 minutes",
	},
	{
		name:        "etcd",
		module:      "go.etcd.io/etcd/server/v3",
		links:       map[string]string{"etcd": "server"},
		compileTime: "half a minute",
	},
	{
		name:   "containerd",
		module: "github.com/containerd/containerd/v2",
		versionFlags: func(version string) []string {
			return []string{"github.com/containerd/containerd/v2/version.Version=" + version}
		},
		compileTime: "about a minute",
	},
	{
		name:   "registry",
		module: "github.com/distribution/distribution/v3",
		versionFlags: func(version string) []string {
			return []string{"github.com/distribution/distribution/v3/version.version=" + version}
		},
		compileTime: "about a minute",
	},
	{
		name:   "crane",
		module: "github.com/google/go-containerregistry",
		versionFlags: func(version string) []string {
			return []string{"github.com/google/go-containerregistry/cmd/crane/cmd.Version=" + version}
		},
		compileTime: "seconds",
	},
	{
		name:   "kaniko",
		module: "github.com/chainguard-dev/kaniko",
		versionFlags: func(version string) []string {
			return []string{"github.com/chainguard-dev/kaniko/pkg/version.version=" + version}
		},
		compileTime: "about a minute",
	},
	{
		name:   "argo",
		module: "github.com/argoproj/argo-workflows/v3",
		versionFlags: func(version string) []string {
			return []string{"github.com/argoproj/argo-workflows/v3.version=" + version}
		},
		build:       buildArgo,
		compileTime: "about 5 minutes",
	},
}

// trainingDefinitions are the tools of a cluster with training controllers.
var trainingDefinitions = []definition{
	{
		name:        "training-operator",
		module:      "github.com/kubeflow/training-operator",
		links:       map[string]string{"training-operator": "training-operator.v1"},
		build:       withManifests("manifests"),
		compileTime: "about 2 minutes",
	},
	{
		name:   "jobset",
		module: "sigs.k8s.io/jobset",
		versionFlags: func(version string) []string {
			return []string{"sigs.k8s.io/jobset/pkg/version.GitVersion=" + version}
		},
		build:       withManifests("config"),
		compileTime: "about a minute",
	},
	{
		name:        "trainer",
		module:      "github.com/kubeflow/trainer/v2",
		links:       map[string]string{"trainer": "trainer-controller-manager"},
		build:       withManifests("manifests"),
		compileTime: "about a minute",
	},
}

// oldestDefinition is the API server of make test-oldest, which no cluster has.
var oldestDefinition = definition{
	name:         OldestKubernetes,
	module:       "k8s.io/kubernetes",
	versionFlags: kubernetesVersion,
	links:        map[string]string{"kube-apiserver": OldestKubernetes},
	compileTime:  "about 4 minutes",
}

func kubernetesVersion(version string) []string {
	major, minor := majorMinor(version)
	return []string{
		"k8s.io/component-base/version.gitVersion=" + version,
		"k8s.io/component-base/version.gitMajor=" + major,
		"k8s.io/component-base/version.gitMinor=" + minor,
	}
}

// Names returns the names of the tools of every cluster, in the order in which they are compiled.
func Names() []string { return namesOf(definitions) }

// TrainingNames returns the names of the training controllers, which a cluster has only on request.
func TrainingNames() []string { return namesOf(trainingDefinitions) }

func namesOf(definitions []definition) []string {
	names := make([]string, len(definitions))
	for i, def := range definitions {
		names[i] = def.name
	}
	return names
}

// Tool is the programs of one module. They may not be compiled yet.
type Tool struct {
	definition

	// Version is the pinned version of the module.
	Version string
	// Dir is the directory of the compiled programs. Its name contains the version and a digest of the pin, so an existing
	// directory is always up to date.
	Dir string

	source string
}

// Name returns the name of the directory that pins the tool.
func (t Tool) Name() string { return t.name }

// Program returns the path of one of the tool's programs.
func (t Tool) Program(name string) string {
	return filepath.Join(t.Dir, name)
}

// Find returns the named tool, with the version that its go.mod pins.
func Find(co checkout.Checkout, name string) (Tool, error) {
	for _, def := range slices.Concat(definitions, trainingDefinitions, []definition{oldestDefinition}) {
		if def.name == name {
			return newTool(co, def)
		}
	}
	return Tool{}, fmt.Errorf("unknown tool %s", name)
}

func newTool(co checkout.Checkout, def definition) (Tool, error) {
	source := co.Source("tools", def.name)
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
		Dir:        filepath.Join(co.Cache, "tools", key),
		source:     source,
	}, nil
}

// readPin returns the version of module in the go.mod of dir, and the names and contents of the directory's files, which
// together determine what is compiled.
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

// requiredVersion returns the version of module that a go.mod requires, or an empty string.
func requiredVersion(goMod, module string) string {
	for line := range strings.Lines(goMod) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module && strings.HasPrefix(fields[1], "v") {
			return fields[1]
		}
	}
	return ""
}

// majorMinor returns the major and minor version of a version, such as 1 and 35 of v1.35.4.
func majorMinor(version string) (major, minor string) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	return parts[0], parts[1]
}
