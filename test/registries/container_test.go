package registries

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// containerVariable makes the test program the first process of a container,
// which it describes.
const containerVariable = "TEST_CONTAINER"

// container is the container of the build step with the engine Kaniko: Kaniko
// takes the root of its file system for the image. It has namespaces of its own,
// for which nobody needs to be root where users may create them.
type container struct {
	// Root is the directory that is its root.
	Root string
	// Mounts are files and directories that it has at the same paths, or at others.
	Mounts map[string]string
	// Command is the command to run.
	Command []string
}

// kanikoContainer returns the command in a new container that sees the pod's
// directories.
func (p *pod) kanikoContainer(t *testing.T, command []string) *exec.Cmd {
	t.Helper()
	root := tempDir(t)
	for _, dir := range []string{"etc", "tmp", "kaniko", "workspace"} {
		require.NoError(t, os.Mkdir(filepath.Join(root, dir), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o644))
	c := container{
		Root: root, Command: command,
		Mounts: map[string]string{"/proc": "/proc", "/dev": "/dev", program("executor"): "/kaniko/executor", p.dir: p.dir, p.model: p.model},
	}
	if p.secretDir != "" {
		c.Mounts[p.secretDir] = p.secretDir
	}
	raw, err := json.Marshal(c)
	require.NoError(t, err)
	started := exec.CommandContext(t.Context(), "/proc/self/exe")
	started.Env = []string{containerVariable + "=" + string(raw), "HOME=/root", "USER=root", "PATH=/kaniko", "SSL_CERT_DIR=/kaniko/ssl/certs"}
	started.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	return started
}

// enter becomes the command of a container. It returns only an error.
func enter(description string) error {
	var c container
	if err := json.Unmarshal([]byte(description), &c); err != nil {
		return err
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("have mounts of its own: %w", err)
	}
	for from, at := range c.Mounts {
		if err := bind(from, filepath.Join(c.Root, at)); err != nil {
			return fmt.Errorf("mount %s: %w", from, err)
		}
	}
	if err := syscall.Chroot(c.Root); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := os.Unsetenv(containerVariable); err != nil {
		return err
	}
	return syscall.Exec(c.Command[0], c.Command, os.Environ())
}

// bind makes a file or directory appear at another path too.
func bind(from, at string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(at, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(at), 0o755); err == nil {
		err = os.WriteFile(at, nil, 0o755)
	}
	if err != nil {
		return err
	}
	return syscall.Mount(from, at, "", syscall.MS_BIND|syscall.MS_REC, "")
}

// tempDir is t.TempDir with a short path: that of a Unix socket has at most 108
// bytes.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pod-") //nolint:usetesting // its path would be too long
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}
