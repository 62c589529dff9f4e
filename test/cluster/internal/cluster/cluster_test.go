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

// running is the record of a cluster whose only program is this test.
func running(t *testing.T, of string) *node.State {
	t.Helper()
	stat, err := os.ReadFile("/proc/self/stat")
	require.NoError(t, err)
	afterName := strings.Fields(string(stat)[strings.LastIndex(string(stat), ")")+1:])
	return &node.State{
		Checkout:  of,
		Complete:  true,
		Processes: map[string]node.Process{"kubelet": {PID: os.Getpid(), Started: afterName[19]}},
	}
}

func TestRunsElsewhere(t *testing.T) {
	clone := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(clone, "test", "cluster"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(clone, "test", "cluster", "go.mod"), nil, 0o644))

	alive := running(t, clone)
	brokenOff := running(t, clone)
	brokenOff.Complete = false
	dead := running(t, clone)
	dead.Processes["etcd"] = node.Process{PID: 1 << 30, Started: "1"}

	tests := map[string]struct {
		state *node.State
		want  bool
	}{
		"no cluster is nowhere":                            {state: nil},
		"another clone's cluster that runs is elsewhere":   {state: alive, want: true},
		"this clone's is not":                              {state: running(t, "/src/modelkiln")},
		"one of which a program ended is dead":             {state: dead},
		"one that never came up is dead":                   {state: brokenOff},
		"one whose clone was removed is nobody's, so dead": {state: running(t, filepath.Join(clone, "removed"))},
	}
	c := New(checkout.Checkout{Root: "/src/modelkiln"}, nil)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, c.runsElsewhere(tt.state))
		})
	}
}

func TestImagesAreToldApartInFewWords(t *testing.T) {
	specs := []image.Spec{{Name: "modelkiln.test/kaniko:v1.25.5"}, {Name: "10.213.0.2:5000/library/busybox:1.37"}}
	assert.Equal(t, "kaniko, busybox", names(specs))
}

func TestTheDigestsFollowWhatIsInAnImageAndNotItsName(t *testing.T) {
	program := filepath.Join(t.TempDir(), "executor")
	kaniko := image.Spec{Name: "modelkiln.test/kaniko:v1.25.5", Files: map[string]image.File{"/kaniko/executor": {Source: program}}}
	of := func(content string) map[string]string {
		t.Helper()
		require.NoError(t, os.WriteFile(program, []byte(content), 0o600))
		got, err := digests([]image.Spec{kaniko})
		require.NoError(t, err)
		return got
	}
	want := of("content")
	assert.Contains(t, want, kaniko.Name)
	assert.Equal(t, want, of("content"))
	assert.NotEqual(t, want, of("compiled with another pin of the same version"))
}

func TestAProgramDoesNotOutliveARunThatIsKilled(t *testing.T) {
	const pipeName = "PIPE_OF_THE_RUN_THAT_IS_KILLED"
	if pipe := os.Getenv(pipeName); pipe != "" {
		_, err := output(t.Context(), nil, "/bin/sh", "-c", `exec >"$0"; echo runs; exec sleep 60`, pipe)
		require.NoError(t, err)
		return
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	run := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	run.Env = append(os.Environ(), pipeName+"="+pipe)
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
	require.ErrorIs(t, err, io.EOF, "the pipe ends with the program that writes to it")
}

func TestAProgramThatFailsIsQuoted(t *testing.T) {
	_, err := output(t.Context(), nil, "/bin/sh", "-c", "echo broken >&2; exit 3")
	require.ErrorContains(t, err, "exit status 3: broken")
	out, err := output(t.Context(), strings.NewReader("in"), "/bin/cat")
	require.NoError(t, err)
	assert.Equal(t, "in", out)
}
