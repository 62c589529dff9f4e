package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// maker makes images.
type maker struct {
	// key names it in files, and name is for people.
	key, name string
	// commands make an image of the model. The image before it may be of use.
	commands func(image, previous string) ([]*command, error)
}

const (
	keyKubeDL = "kubedl"
	keyCache  = "cache"
	keyKaniko = "kaniko"
	keyStream = "stream"
	keyTimes  = "times"
	keyOras   = "oras"
	keyCrane  = "crane"
)

// prepare compiles what is measured, and the registry.
func prepare(ctx context.Context, s settings) (*registry, []maker, error) {
	bin := filepath.Join(s.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, nil, fmt.Errorf("prepare: %w", err)
	}
	step, oras, executor := filepath.Join(bin, "modelkiln-step"), filepath.Join(bin, "oras"), filepath.Join(bin, "executor")
	crane, distribution := filepath.Join(bin, "crane"), filepath.Join(bin, "registry")
	for _, args := range [][]string{
		{"build", "-trimpath", "-ldflags=-s -w", "-o", step, "./cmd/modelkiln-step"},
		{"build", "-trimpath", "-ldflags=-s -w", "-modfile=test/tools/oras/go.mod", "-o", oras, "oras.land/oras/cmd/oras"},
		{"-C", "test/cluster/tools/kaniko", "build", "-trimpath", "-ldflags=-s -w", "-o", executor, "github.com/chainguard-dev/kaniko/cmd/executor"},
		{"-C", "test/cluster/tools/crane", "build", "-trimpath", "-ldflags=-s -w", "-o", crane, "github.com/google/go-containerregistry/cmd/crane"},
		{"-C", "test/cluster/tools/registry", "build", "-trimpath", "-ldflags=-s -w", "-o", distribution, "github.com/distribution/distribution/v3/cmd/registry"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, nil, fmt.Errorf("compile: %w\n%s", err, out)
		}
	}
	server, err := newRegistry(distribution, filepath.Join(s.dir, "registry"))
	if err != nil {
		return nil, nil, err
	}
	b := bench{registry: server, files: s.files, step: step, oras: oras, crane: crane, model: filepath.Join(s.dir, "model"), kiln: filepath.Join(s.dir, "kiln")}
	b.root = filepath.Join(s.dir, "root")
	if err := b.makeRoot(executor); err != nil {
		return nil, nil, err
	}
	return server, []maker{
		{keyKubeDL, "Kaniko as KubeDL runs it", b.kubeDL},
		{keyCache, "Kaniko with its cache", b.cached},
		{keyKaniko, "Modelkiln, engine Kaniko", b.kaniko},
		{keyStream, "Modelkiln, engine Stream", b.stream("Content")},
		{keyTimes, "Stream, times trusted", b.stream("ModTime")},
		{keyOras, "oras push (no image)", b.orasPush},
		{keyCrane, "crane append", b.craneAppend},
	}, nil
}

// bench knows where everything is.
type bench struct {
	registry *registry
	files    int
	// What is run, and where.
	step, oras, crane, model, kiln string
	// root is the root folder of Kaniko's processes, which unpack images there.
	root string
}

// makeRoot makes a root folder like that of Kaniko's image.
func (b bench) makeRoot(executor string) error {
	for _, folder := range []string{"kaniko", "source", "kiln", "proc", "dev", "context/build", "push-secret"} {
		if err := os.MkdirAll(filepath.Join(b.root, folder), 0o755); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	if err := os.MkdirAll(b.kiln, 0o755); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	program, err := os.ReadFile(executor)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.root, "kaniko/executor"), program, 0o755); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	dockerfile := "FROM " + b.registry.base() + "\nCOPY build/ /kubedl-model\n"
	if err := os.WriteFile(filepath.Join(b.root, "context/dockerfile"), []byte(dockerfile), 0o644); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	// A layer a file, as its cache wants it.
	byFile := "FROM " + b.registry.base() + "\n"
	for _, name := range b.names() {
		byFile += "COPY build/" + name + " /kubedl-model/\n"
	}
	return os.WriteFile(filepath.Join(b.root, "context/dockerfile-by-file"), []byte(byFile), 0o644)
}

// clearRoot clears Kaniko's root folder of what the build before has unpacked
// there, which a new container would not hold.
func (b bench) clearRoot() error {
	for folder, kept := range map[string][]string{
		b.root:                          {"kaniko", "context", "source", "kiln", "proc", "dev", "push-secret"},
		filepath.Join(b.root, "kaniko"): {"executor"},
	} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return fmt.Errorf("clear the root folder: %w", err)
		}
		for _, e := range entries {
			if slices.Contains(kept, e.Name()) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(folder, e.Name())); err != nil {
				return fmt.Errorf("clear the root folder: %w", err)
			}
		}
	}
	if err := os.Mkdir(filepath.Join(b.root, "tmp"), 0o755); err != nil {
		return fmt.Errorf("clear the root folder: %w", err)
	}
	return nil
}

// inRoot is a command in Kaniko's root folder, in mount and process namespaces
// of its own, with the model where it looks for it.
func (b bench) inRoot(args ...string) *command {
	const script = `set -e
root=$1 model=$2 kiln=$3; shift 3
mount --bind -o ro "$model" "$root/source"
mount --bind -o ro "$model" "$root/context/build"
mount --bind "$kiln" "$root/kiln"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
export HOME=/root DOCKER_CONFIG=/kaniko/.docker SSL_CERT_DIR=/kaniko/ssl/certs
exec chroot "$root" "$@"`
	return &command{args: append([]string{"unshare", "--mount", "--pid", "--fork", "--propagation=private", "sh", "-c", script, "sh", b.root, b.model, b.kiln}, args...)}
}

func (b bench) kubeDL(image, _ string) ([]*command, error) {
	return []*command{b.inRoot("/kaniko/executor", "--context=dir:///context", "--dockerfile=/context/dockerfile", "--destination="+image, "--insecure", "--insecure-pull", "--force")}, b.clearRoot()
}

// cached is the best that Kaniko's own cache can do: a layer a file, and no more
// memory than it needs.
func (b bench) cached(image, _ string) ([]*command, error) {
	return []*command{b.inRoot("/kaniko/executor", "--context=dir:///context", "--dockerfile=/context/dockerfile-by-file", "--destination="+image,
		"--insecure", "--insecure-pull", "--insecure-registry="+b.registry.host, "--force", "--compressed-caching=false", "--snapshot-mode=redo",
		"--compression=zstd", "--compression-level=1", "--cache", "--cache-copy-layers", "--cache-repo="+b.registry.host+"/bench/cache")}, b.clearRoot()
}

// steps are the steps of a build, as the workflow template calls them.
func (b bench) steps(image, source string, build []string) [][]string {
	common := []string{"--image=" + image, "--plain-http=" + b.registry.host, "--push-secret-folder=/push-secret", "--registry-ca=/none"}
	check := append([]string{"mount-check", "--storage-kind=persistentVolumeClaim", "--base-image=" + b.registry.base(), "--source=" + source}, common...)
	made := slices.Concat(build, []string{"--base-image=" + b.registry.base(), "--model=bench"}, common)
	report := append([]string{"status-report"}, common...)
	return [][]string{check, made, report}
}

func (b bench) kaniko(image, _ string) ([]*command, error) {
	var commands []*command
	for i, args := range b.steps(image, "/source", []string{"build"}) {
		program := "/kiln/modelkiln-step"
		if i == 0 {
			// The first step puts the program where the others find it.
			if err := copyFile(b.step, filepath.Join(b.kiln, "modelkiln-step")); err != nil {
				return nil, err
			}
			args = append(args, "--program=/kiln/modelkiln-step.first")
			program = "/kiln/modelkiln-step.first"
			if err := copyFile(b.step, filepath.Join(b.kiln, "modelkiln-step.first")); err != nil {
				return nil, err
			}
		}
		commands = append(commands, b.inRoot(append([]string{program}, args...)...))
	}
	return commands, b.clearRoot()
}

// stream is the engine Stream with a change detection.
func (b bench) stream(changes string) func(image, previous string) ([]*command, error) {
	return func(image, previous string) ([]*command, error) {
		var commands []*command
		build := []string{"stream", "--previous-image=" + previous, "--change-detection=" + changes}
		for i, args := range b.steps(image, b.model, build) {
			if i == 0 {
				args = append(args, "--engine=Stream")
			}
			commands = append(commands, &command{args: append([]string{b.step}, append(args, "--shared="+b.kiln)...)})
		}
		return commands, nil
	}
}

func (b bench) orasPush(image, _ string) ([]*command, error) {
	return []*command{{dir: b.model, args: append([]string{b.oras, "push", "--plain-http", image}, b.names()...)}}, nil
}

func (b bench) names() []string {
	names := []string{"config.json"}
	for i := range b.files {
		names = append(names, fmt.Sprintf("weights-%d.bin", i))
	}
	return names
}

func (b bench) craneAppend(image, _ string) ([]*command, error) {
	return []*command{{dir: b.model, args: []string{"sh", "-c", `tar -c . | "$1" append --insecure -b "$2" -f - -t "$3"`, "sh", b.crane, b.registry.base(), image}}}, nil
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return os.WriteFile(to, content, 0o755)
}
