package registries

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// distribution is a process of distribution's registry.
type distribution struct {
	// program is registry for version 3, and distribution2 for version 2.8.
	program string
	// host is its host and port.
	host    string
	dir     string
	process *exec.Cmd
}

// startDistribution starts a registry that ends with the test. Further lines of
// configuration may be given.
func startDistribution(t *testing.T, configuration ...string) *distribution {
	t.Helper()
	return startDistributionOf(t, "registry", configuration...)
}

// startDistributionOf is startDistribution with one of the programs.
func startDistributionOf(t *testing.T, program string, configuration ...string) *distribution {
	t.Helper()
	d := &distribution{program: program, host: freeAddress(t), dir: t.TempDir()}
	lines := slices.Concat(configuration, []string{
		"version: 0.1",
		"log: {level: error, accesslog: {disabled: true}}",
		fmt.Sprintf("storage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}", d.path("data")),
	})
	require.NoError(t, os.WriteFile(d.path("config.yml"), []byte(strings.Join(lines, "\n")), 0o600))
	t.Cleanup(func() { d.kill(t) })
	d.start(t)
	return d
}

// A registry that is restarted needs its port again. The system gives ports below
// this range's end to no client, so that none of them takes it meanwhile.
var (
	firstPort = 10_000 + rand.Int32N(10_000)
	ports     atomic.Int32
)

// freeAddress returns a host and port that nothing listens on, and that no other
// call returns.
func freeAddress(t *testing.T) string {
	t.Helper()
	for {
		address := net.JoinHostPort(localhost, strconv.Itoa(int(firstPort+ports.Add(1))))
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err == nil {
			require.NoError(t, listener.Close())
			return address
		}
		require.ErrorIs(t, err, syscall.EADDRINUSE)
	}
}

func (d *distribution) path(name string) string { return filepath.Join(d.dir, name) }

// start starts the registry, or starts it again with what it had on its disk.
func (d *distribution) start(t *testing.T) {
	t.Helper()
	d.process = exec.Command(program(d.program), "serve", d.path("config.yml"))
	d.process.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none", "REGISTRY_HTTP_ADDR="+d.host)
	startServer(t, d.process, d.path("log"), d.host)
}

// startServer starts a registry and waits until it responds.
func startServer(t *testing.T, process *exec.Cmd, logFile, host string) {
	t.Helper()
	log, err := os.Create(logFile)
	require.NoError(t, err)
	defer log.Close()
	process.Stdout, process.Stderr = log, log
	require.NoError(t, process.Start())
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		resp, err := http.Get("http://" + host + "/v2/")
		if err != nil {
			printed, _ := os.ReadFile(logFile)
			require.NoError(collect, err, "%s", printed)
		}
		require.NoError(collect, resp.Body.Close())
	}, time.Minute, 20*time.Millisecond)
}

// startOlareg starts a registry of olareg that everyone can push to, and that ends
// with the test. It returns its host and port.
func startOlareg(t *testing.T) string {
	t.Helper()
	host := freeAddress(t)
	address, port, err := net.SplitHostPort(host)
	require.NoError(t, err)
	dir := t.TempDir()
	process := exec.Command(program("olareg"), "serve", "--addr", address, "--port", port, "--dir", dir, "--api-delete")
	startServer(t, process, filepath.Join(dir, "log"), host)
	t.Cleanup(func() {
		require.NoError(t, process.Process.Kill())
		_ = process.Wait() // It was killed.
	})
	return host
}

// kill ends the registry as a node that fails does.
func (d *distribution) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, d.process.Process.Signal(syscall.SIGKILL))
	// It ends with the signal.
	_ = d.process.Wait()
}

// uploadedBytes returns the length of the longest unfinished upload.
func (d *distribution) uploadedBytes(t *testing.T) (longest int64) {
	t.Helper()
	uploads, err := filepath.Glob(d.path("data/docker/registry/v2/repositories/*/*/_uploads/*/data"))
	require.NoError(t, err)
	for _, file := range uploads {
		if info, err := os.Stat(file); err == nil {
			longest = max(longest, info.Size())
		}
	}
	return longest
}
