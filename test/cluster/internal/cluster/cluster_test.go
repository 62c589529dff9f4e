package cluster

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
)

// runningState returns the record of a cluster whose only program is this test.
func runningState(t *testing.T, checkout string) *node.State {
	t.Helper()
	stat, err := os.ReadFile("/proc/self/stat")
	require.NoError(t, err)
	afterName := strings.Fields(string(stat)[strings.LastIndex(string(stat), ")")+1:])
	return &node.State{
		Checkout:  checkout,
		Complete:  true,
		Processes: map[string]node.Process{"kubelet": {PID: os.Getpid(), StartTime: afterName[19]}},
	}
}

func TestRunsForOtherCheckout(t *testing.T) {
	clone := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(clone, "test", "cluster"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(clone, "test", "cluster", "go.mod"), nil, 0o644))

	alive := runningState(t, clone)
	interrupted := runningState(t, clone)
	interrupted.Complete = false
	exited := runningState(t, clone)
	exited.Processes["etcd"] = node.Process{PID: 1 << 30, StartTime: "1"}

	tests := map[string]struct {
		state *node.State
		want  bool
	}{
		"no cluster":                           {state: nil},
		"a running cluster of another clone":   {state: alive, want: true},
		"a running cluster of this clone":      {state: runningState(t, "/src/modelkiln")},
		"a program of the cluster exited":      {state: exited},
		"the cluster did not start completely": {state: interrupted},
		"the clone of the cluster was removed": {state: runningState(t, filepath.Join(clone, "removed"))},
	}
	c := New(checkout.Checkout{Root: "/src/modelkiln"}, nil)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, c.runsForOtherCheckout(tt.state))
		})
	}
}

func TestNames(t *testing.T) {
	specs := []image.Spec{{Name: "modelkiln.test/kaniko:v1.25.5"}, {Name: "10.213.0.2:5000/library/busybox:1.37"}}
	assert.Equal(t, "kaniko, busybox", names(specs))
}

func TestDigests(t *testing.T) {
	program := filepath.Join(t.TempDir(), "executor")
	kaniko := image.Spec{Name: "modelkiln.test/kaniko:v1.25.5", Files: map[string]image.File{"/kaniko/executor": {Source: program}}}
	digestsOf := func(content string) map[string]string {
		t.Helper()
		require.NoError(t, os.WriteFile(program, []byte(content), 0o600))
		got, err := digests([]image.Spec{kaniko})
		require.NoError(t, err)
		return got
	}
	want := digestsOf("content")
	assert.Contains(t, want, kaniko.Name)
	assert.Equal(t, want, digestsOf("content"))
	assert.NotEqual(t, want, digestsOf("compiled with another pin of the same version"))
}

func TestOutputProgramDiesWithItsParent(t *testing.T) {
	const pipeVariable = "MODELKILN_TEST_PIPE"
	if pipe := os.Getenv(pipeVariable); pipe != "" {
		_, err := output(t.Context(), nil, "/bin/sh", "-c", `exec >"$0"; echo runs; exec sleep 60`, pipe)
		require.NoError(t, err)
		return
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	run := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	run.Env = append(os.Environ(), pipeVariable+"="+pipe)
	require.NoError(t, run.Start())
	reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = reader.Close() })
	require.NoError(t, reader.SetReadDeadline(time.Now().Add(10*time.Second)))
	started := make([]byte, len("runs\n"))
	require.Eventually(t, func() bool {
		_, err := io.ReadFull(reader, started)
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)

	require.NoError(t, run.Process.Kill())
	require.Error(t, run.Wait())
	_, err = reader.Read(started)
	require.ErrorIs(t, err, io.EOF, "the pipe is closed when the program that writes to it exits")
}

func TestOutput(t *testing.T) {
	_, err := output(t.Context(), nil, "/bin/sh", "-c", "echo broken >&2; exit 3")
	require.ErrorContains(t, err, "exit status 3: broken")
	out, err := output(t.Context(), strings.NewReader("in"), "/bin/cat")
	require.NoError(t, err)
	assert.Equal(t, "in", out)
}
