package step

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/modelkiln/modelkiln/test/clouds"
)

// Environment variables that make the test program another one.
const (
	// program is kaniko or modelkiln-step.
	program = "TEST_PROGRAM"
	// kanikoDir is the directory in which Kaniko keeps its files.
	kanikoDir = "TEST_KANIKO_DIR"
	// fault is a fault of Kaniko.
	fault = "TEST_KANIKO_FAULT"
	// changeScript is a shell script that changes the source after all files were
	// copied.
	changeScript = "TEST_CHANGE_SCRIPT"
)

// Faults of Kaniko.
const (
	faultRejected    = "is rejected by the registry of the base image"
	faultDropsFile   = "drops a file"
	faultPacksTwice  = "runs a command twice"
	faultStopsBefore = "ends before the last command"
)

func hasFault(name string) bool { return os.Getenv(fault) == name }

// hosts are hosts of the internet.
var hosts *clouds.Hosts

func TestMain(m *testing.M) {
	switch os.Getenv(program) {
	case "kaniko":
		os.Exit(fakeKaniko(os.Args[1:]))
	default:
		hosts = clouds.StartHosts()
		os.Exit(m.Run())
	}
}

// keychain finds credentials as Kaniko does: if there are none, not even empty ones, in
// its configuration file, it looks for those of clouds.
var keychain = authn.NewMultiKeychain(authn.DefaultKeychain, ownHelpers{})

type ownHelpers struct{}

func (ownHelpers) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return nil, fmt.Errorf("asks its own credential helpers for %s", target)
}

// fakeKaniko does what Kaniko does with the Dockerfiles of the package kaniko,
// except that the image's root is not its own root: it runs the commands, and archives
// the new files after each.
func fakeKaniko(args []string) int {
	if hasFault(faultRejected) {
		fmt.Fprintln(os.Stdout, "error building image: GET https://h/v2/: unexpected status code 403 Forbidden")
		return 1
	}
	if err := (&executor{args: args}).run(); err != nil {
		fmt.Fprintln(os.Stderr, "error building image:", err)
		return 1
	}
	return 0
}

type executor struct {
	args      []string
	image     v1.Image
	imageRoot string
	user      string
}

func (e *executor) flags(name string) []string {
	var values []string
	for _, arg := range e.args {
		if value, found := strings.CutPrefix(arg, "--"+name+"="); found {
			values = append(values, value)
		}
	}
	return values
}

func (e *executor) run() error {
	text, err := os.ReadFile(e.flags("dockerfile")[0])
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch instruction {
		case "FROM":
			err = e.from(rest)
		case "RUN":
			err = e.runCommand(rest)
		case "USER":
			e.user = strings.Trim(rest, `"`)
		default:
			err = fmt.Errorf("unknown instruction %q", line)
		}
		if err != nil {
			return err
		}
	}
	if !slices.Contains(e.args, "--no-push") {
		return errors.New("must provide at least one destination to push")
	}
	// The Kaniko of osscontainertools does so.
	return os.RemoveAll(filepath.Join(os.Getenv(kanikoDir), "layers"))
}

func (e *executor) from(base string) error {
	e.image = empty.Image
	if base == "scratch" {
		return nil
	}
	ref, err := name.NewDigest(base, name.Insecure)
	if err != nil {
		return err
	}
	e.image, err = remote.Image(ref, remote.WithAuthFromKeychain(keychain))
	if err != nil {
		return err
	}
	config, err := e.image.ConfigFile()
	if err != nil {
		return err
	}
	e.user = config.Config.User
	return nil
}

// unpack unpacks the directories and files of the base image.
func (e *executor) unpack() error {
	content := mutate.Extract(e.image)
	defer func() { _ = content.Close() }()
	entries := tar.NewReader(content)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(e.imageRoot, header.Name)
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var content []byte
			if content, err = io.ReadAll(entries); err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644))
			}
		}
		if err != nil {
			return err
		}
	}
}

func (e *executor) runCommand(rest string) error {
	var command []string
	if err := json.Unmarshal([]byte(rest), &command); err != nil {
		return err
	}
	if e.imageRoot == "" {
		e.imageRoot = filepath.Dir(e.flags("ignore-path")[0])
		if err := e.unpack(); err != nil {
			return err
		}
	}
	if e.user != "" {
		return fmt.Errorf("would run as %s", e.user)
	}
	if slices.Contains(command, "--finish") {
		if hasFault(faultStopsBefore) {
			return nil
		}
		if err := exec.Command("sh", "-ec", os.Getenv(changeScript)).Run(); err != nil {
			return err
		}
	}
	before, err := e.names()
	if err != nil {
		return err
	}
	if err := e.start(command); err != nil {
		return err
	}
	if hasFault(faultPacksTwice) {
		return e.start(command)
	}
	return e.snapshot(before)
}

// start runs a command of modelkiln-step, whose program must exist, in this process: under
// the race detector, to start another one takes long.
func (e *executor) start(command []string) error {
	if _, err := os.Stat(command[0]); err != nil {
		return fmt.Errorf("starting command: %w", err)
	}
	ctx := context.Background() //nolint:forbidigo // the test program is Kaniko here
	if code := Main(ctx, command[1:], os.Stdout, os.Stderr); code != exitOK {
		return fmt.Errorf("failed to execute command: waiting for process to exit: exit status %d", code)
	}
	return nil
}

func (e *executor) names() (map[string]bool, error) {
	names := map[string]bool{}
	err := filepath.WalkDir(e.imageRoot, func(path string, _ fs.DirEntry, err error) error {
		if path == e.flags("ignore-path")[0] {
			return fs.SkipDir
		}
		names[path] = true
		return err
	})
	return names, err
}

// snapshot archives the new files and their parent directories.
func (e *executor) snapshot(before map[string]bool) error {
	dir := filepath.Join(os.Getenv(kanikoDir), "layers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, "")
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	after, err := e.names()
	if err != nil {
		return err
	}
	add := map[string]bool{}
	for path := range after {
		if before[path] || (hasFault(faultDropsFile) && strings.HasSuffix(path, ".bin")) {
			continue
		}
		for ; path != e.imageRoot; path = filepath.Dir(path) {
			add[path] = true
		}
	}
	archive := tar.NewWriter(file)
	names := []string{}
	for path := range add {
		names = append(names, path)
	}
	slices.Sort(names)
	for _, path := range names {
		if err := e.archive(archive, path); err != nil {
			return err
		}
	}
	return archive.Close()
}

func (e *executor) archive(archive *tar.Writer, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	target, _ := os.Readlink(path)
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Format = tar.FormatPAX
	header.Name = strings.TrimPrefix(path, e.imageRoot+"/")
	if info.IsDir() {
		header.Name += "/"
	}
	if err := archive.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	_, err = io.Copy(archive, file)
	return err
}
