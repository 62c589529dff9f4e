package image

import (
	"fmt"
	"os/exec"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/test/cluster/internal/tool"
)

// domain is the registry in the names of images that exist on the node only. It is reserved for tests, so that nobody
// confuses an image that was assembled here with one that its project published.
const domain = "modelkiln.test/"

const (
	caBundle     = "/etc/ssl/certs/ca-certificates.crt"
	staticShell  = "/bin/busybox"
	nonRootArgo  = "8737"
	nonRootOther = "65532"
)

// Pause is the name of the image that holds a pod's namespaces.
const Pause = domain + "pause:1"

// Busybox is the name of the shell image that pods use without a pull.
const Busybox = domain + "busybox:1.37"

// PauseSpec describes the image of the pause program.
func PauseSpec(program string) Spec {
	return Spec{
		Name:   Pause,
		Files:  map[string]File{"/pause": {Source: program}},
		Config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535"},
	}
}

// BusyboxSpec describes a small base image with a shell, built from Debian's busybox. It replaces Docker Hub's image of that
// name, which a machine without access to the internet cannot pull.
func BusyboxSpec(name string) (Spec, error) {
	out, err := exec.Command(staticShell, "--list").Output()
	if err != nil {
		return Spec{}, fmt.Errorf("%s does not list its commands: %w", staticShell, err)
	}
	files := map[string]File{
		"/bin/busybox": {Source: staticShell},
		"/tmp":         {Mode: 0o1777},
		"/root":        {Mode: 0o700},
		"/etc":         {},
		"/usr/bin/env": {Link: "/bin/busybox"},
	}
	for _, command := range strings.Fields(string(out)) {
		if command != "busybox" {
			files["/bin/"+command] = File{Link: "busybox"}
		}
	}
	return Spec{
		Name:  name,
		Files: files,
		Config: v1.Config{
			Cmd: []string{"sh"},
			Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		},
	}, nil
}

// NodeSpecs describes the images of the programs that run as pods.
func NodeSpecs(tools map[string]tool.Tool) []Spec {
	argo, registry, kaniko := tools["argo"], tools["registry"], tools["kaniko"]
	return []Spec{
		argoSpec(argo, "argoexec", "argoexec", ""),
		argoSpec(argo, "workflow-controller", "workflow-controller", nonRootArgo),
		argoSpec(argo, "argocli", "argo", nonRootArgo),
		{
			Name:   domain + "registry:" + registry.Version,
			Files:  map[string]File{"/bin/registry": {Source: registry.Program("registry")}},
			Config: v1.Config{Entrypoint: []string{"/bin/registry"}, User: nonRootOther},
		},
		{
			Name: domain + "kaniko:" + kaniko.Version,
			Files: map[string]File{
				"/kaniko/executor":                      {Source: kaniko.Program("executor")},
				"/kaniko/ssl/certs/ca-certificates.crt": {Source: caBundle, Mode: 0o644},
				"/kaniko/.docker":                       {},
				"/workspace":                            {},
			},
			Config: v1.Config{
				Entrypoint: []string{"/kaniko/executor"},
				WorkingDir: "/workspace",
				Env: []string{
					"HOME=/root",
					"USER=root",
					"PATH=/usr/local/bin:/kaniko",
					"SSL_CERT_DIR=/kaniko/ssl/certs",
					"DOCKER_CONFIG=/kaniko/.docker/",
				},
			},
		},
	}
}

func argoSpec(argo tool.Tool, name, program, user string) Spec {
	return Spec{
		Name: domain + name + ":" + argo.Version,
		Files: map[string]File{
			"/bin/" + program: {Source: argo.Program(program)},
			caBundle:          {Source: caBundle, Mode: 0o644},
			"/tmp":            {Mode: 0o1777},
		},
		Config: v1.Config{
			Entrypoint: []string{program},
			User:       user,
			Env:        []string{"PATH=/bin"},
		},
	}
}
