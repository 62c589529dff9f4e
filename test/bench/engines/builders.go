package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// builder is a tool that builds images.
type builder struct {
	// key is the value of the flag --only, and name the label in the table.
	key, name string
	// commands returns the commands that build an image of the model. They may
	// reuse the layers of the previous image.
	commands func(image, previous string) ([]*command, error)
	// reads is true for one that only reads the model, to compare with.
	reads bool
}

const (
	keyKubeDL = "kubedl"
	keyCache  = "cache"
	keyKaniko = "kaniko"
	keyStream = "stream"
	keyTimes  = "times"
	keySkip   = "skip"
	keyS3     = "s3"
	keyRead   = "read"
	keyOras   = "oras"
	keyCrane  = "crane"
)

// prepare compiles the builders, the registry and the object store, and starts the
// latter. The caller stops it.
func prepare(ctx context.Context, s settings) (*registry, *objects, []builder, error) {
	bin := filepath.Join(s.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, nil, nil, fmt.Errorf("prepare: %w", err)
	}
	step, oras, executor := filepath.Join(bin, "modelkiln-step"), filepath.Join(bin, "oras"), filepath.Join(bin, "executor")
	crane, distribution, versitygw := filepath.Join(bin, "crane"), filepath.Join(bin, "registry"), filepath.Join(bin, "versitygw")
	for _, args := range [][]string{
		{"build", "-trimpath", "-ldflags=-s -w", "-o", step, "./cmd/modelkiln-step"},
		{"build", "-trimpath", "-ldflags=-s -w", "-modfile=test/tools/oras/go.mod", "-o", oras, "oras.land/oras/cmd/oras"},
		{"-C", "test/cluster/tools/kaniko", "build", "-trimpath", "-ldflags=-s -w", "-o", executor, "github.com/chainguard-dev/kaniko/cmd/executor"},
		{"-C", "test/cluster/tools/crane", "build", "-trimpath", "-ldflags=-s -w", "-o", crane, "github.com/google/go-containerregistry/cmd/crane"},
		{"-C", "test/cluster/tools/registry", "build", "-trimpath", "-ldflags=-s -w", "-o", distribution, "github.com/distribution/distribution/v3/cmd/registry"},
		{"-C", "test/sources/tools/versitygw", "build", "-trimpath", "-ldflags=-s -w", "-o", versitygw, "github.com/versity/versitygw/cmd/versitygw"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, nil, nil, fmt.Errorf("compile: %w\n%s", err, out)
		}
	}
	server, err := newRegistry(distribution, filepath.Join(s.dir, "registry"))
	if err != nil {
		return nil, nil, nil, err
	}
	store, err := startObjects(ctx, versitygw, filepath.Join(s.dir, "objects"))
	if err != nil {
		return nil, nil, nil, err
	}
	b := bench{registry: server, objects: store, files: s.files, step: step, oras: oras, crane: crane, model: filepath.Join(s.dir, "model"), kiln: filepath.Join(s.dir, "kiln")}
	b.root = filepath.Join(s.dir, "root")
	if err := b.createRoot(executor); err != nil {
		return nil, nil, nil, errors.Join(err, store.gateway.Stop())
	}
	return server, store, []builder{
		{key: keyKubeDL, name: "Kaniko as KubeDL runs it", commands: b.kubeDL},
		{key: keyCache, name: "Kaniko with its cache", commands: b.cached},
		{key: keyKaniko, name: "Modelkiln, engine Kaniko", commands: b.kaniko},
		{key: keyStream, name: "Modelkiln, engine Stream", commands: b.stream("Content")},
		{key: keyTimes, name: "Stream with ModTime", commands: b.stream("ModTime")},
		{key: keySkip, name: "Stream without digests of files", commands: b.stream("Content", "--file-digests=Skip")},
		{key: keyS3, name: "Stream from S3", commands: b.streamS3(ctx)},
		{key: keyRead, name: "reading the objects only", commands: b.readObjects(ctx), reads: true},
		{key: keyOras, name: "oras push (no image)", commands: b.orasPush},
		{key: keyCrane, name: "crane append", commands: b.craneAppend},
	}, nil
}

// bench contains the paths of the programs and directories.
type bench struct {
	registry *registry
	objects  *objects
	files    int
	// step, oras and crane are programs, model and kiln directories.
	step, oras, crane, model, kiln string
	// root is the root directory of Kaniko's processes, which unpack images
	// there.
	root string
}

// createRoot creates a root directory like that of Kaniko's image.
func (b bench) createRoot(executor string) error {
	for _, dir := range []string{"kaniko", "source", "kiln", "proc", "dev", "context/build", "push-secret"} {
		if err := os.MkdirAll(filepath.Join(b.root, dir), 0o755); err != nil {
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
	// For Kaniko's cache: one layer for each file.
	byFile := "FROM " + b.registry.base() + "\n"
	for _, name := range b.names() {
		byFile += "COPY build/" + name + " /kubedl-model/\n"
	}
	return os.WriteFile(filepath.Join(b.root, "context/dockerfile-by-file"), []byte(byFile), 0o644)
}

// cleanRoot removes what the previous build unpacked in Kaniko's root directory,
// because a new container would not contain it.
func (b bench) cleanRoot() error {
	for dir, kept := range map[string][]string{
		b.root:                          {"kaniko", "context", "source", "kiln", "proc", "dev", "push-secret"},
		filepath.Join(b.root, "kaniko"): {"executor"},
	} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("clean the root directory: %w", err)
		}
		for _, e := range entries {
			if slices.Contains(kept, e.Name()) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("clean the root directory: %w", err)
			}
		}
	}
	if err := os.Mkdir(filepath.Join(b.root, "tmp"), 0o755); err != nil {
		return fmt.Errorf("clean the root directory: %w", err)
	}
	return nil
}

// chroot returns a command that runs in Kaniko's root directory and in new mount
// and PID namespaces, with the model mounted.
func (b bench) chroot(args ...string) *command {
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
	return []*command{b.chroot("/kaniko/executor", "--context=dir:///context", "--dockerfile=/context/dockerfile", "--destination="+image, "--insecure", "--insecure-pull", "--force")}, b.cleanRoot()
}

// cached runs Kaniko with the best settings for its cache: one layer for each
// file, and little memory.
func (b bench) cached(image, _ string) ([]*command, error) {
	return []*command{b.chroot("/kaniko/executor", "--context=dir:///context", "--dockerfile=/context/dockerfile-by-file", "--destination="+image,
		"--insecure", "--insecure-pull", "--insecure-registry="+b.registry.host, "--force", "--compressed-caching=false", "--snapshot-mode=redo",
		"--compression=zstd", "--compression-level=1", "--cache", "--cache-copy-layers", "--cache-repo="+b.registry.host+"/bench/cache")}, b.cleanRoot()
}

// steps returns the command lines of the steps of a build, as in the workflow
// template.
func (b bench) steps(image string, storage, build []string) [][]string {
	common := []string{"--image=" + image, "--plain-http=" + b.registry.host, "--push-secret-dir=/push-secret", "--registry-ca=/none"}
	check := slices.Concat([]string{"mount-check", "--base-image=" + b.registry.base()}, storage, common)
	build = slices.Concat(build, []string{"--base-image=" + b.registry.base(), "--model=bench"}, common)
	report := append([]string{"status-report"}, common...)
	return [][]string{check, build, report}
}

func (b bench) kaniko(image, _ string) ([]*command, error) {
	var commands []*command
	for i, args := range b.steps(image, mounted("/source"), []string{"build"}) {
		program := "/kiln/modelkiln-step"
		if i == 0 {
			// The first step copies the program for the others.
			if err := copyFile(b.step, filepath.Join(b.kiln, "modelkiln-step")); err != nil {
				return nil, err
			}
			args = append(args, "--program=/kiln/modelkiln-step.first")
			program = "/kiln/modelkiln-step.first"
			if err := copyFile(b.step, filepath.Join(b.kiln, "modelkiln-step.first")); err != nil {
				return nil, err
			}
		}
		commands = append(commands, b.chroot(append([]string{program}, args...)...))
	}
	return commands, b.cleanRoot()
}

// mounted returns the arguments of mount-check for a directory.
func mounted(dir string) []string {
	return []string{"--storage-kind=persistentVolumeClaim", "--source=" + dir}
}

// stream returns a function for the engine Stream with a change detection and other flags.
func (b bench) stream(changeDetection string, flags ...string) func(image, previous string) ([]*command, error) {
	return func(image, previous string) ([]*command, error) {
		return b.streamFrom(image, mounted(b.model), append([]string{"--previous-image=" + previous, "--change-detection=" + changeDetection}, flags...)...), nil
	}
}

// streamFrom returns the commands of the engine Stream.
func (b bench) streamFrom(image string, storage []string, build ...string) []*command {
	var commands []*command
	for i, args := range b.steps(image, storage, append([]string{"stream"}, build...)) {
		if i == 0 {
			args = append(args, "--engine=Stream")
		}
		commands = append(commands, &command{args: append([]string{b.step}, append(args, "--shared="+b.kiln)...)})
	}
	return commands
}

// streamS3 returns a function for the engine Stream with the model in an object store.
// To upload it there is not measured.
func (b bench) streamS3(ctx context.Context) func(image, previous string) ([]*command, error) {
	return func(image, previous string) ([]*command, error) {
		build := []string{"--previous-image=" + previous, "--source-secret-dir=" + b.objects.secret}
		return b.streamFrom(image, b.objects.arguments(), build...), b.objects.upload(ctx, b.model, b.names())
	}
}

// readObjects returns a function that only reads the model from the object store.
func (b bench) readObjects(ctx context.Context) func(image, previous string) ([]*command, error) {
	return func(string, string) ([]*command, error) {
		program, err := os.Executable()
		return []*command{{args: []string{program, readCommand, b.objects.gateway.Endpoint, b.objects.secret}}}, errors.Join(err, b.objects.upload(ctx, b.model, b.names()))
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
