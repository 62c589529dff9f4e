package kaniko

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// role is the environment variable that makes the test program an executor.
const role = "TEST_EXECUTOR"

func TestMain(m *testing.M) {
	if behaviour := os.Getenv(role); behaviour != "" {
		os.Exit(executor(behaviour))
	}
	os.Exit(m.Run())
}

// executor behaves as requested. By default it fails, and prints its behaviour.
func executor(behaviour string) int {
	switch behaviour {
	case "waits":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		fmt.Fprintln(os.Stdout, "waiting")
		fmt.Fprintln(os.Stdout, "got", <-signals)
		return 1
	case "is killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "prints its arguments":
		fmt.Fprintf(os.Stdout, "%q\n", os.Args[1:])
		fmt.Fprintln(os.Stdout, os.Getenv("DOCKER_CONFIG"), os.Getenv("DOCKER_AUTH_CONFIG"))
		return 0
	default:
		fmt.Fprintln(os.Stderr, behaviour)
		return 3
	}
}

func noSecrets() []string { return nil }

func run(ctx context.Context, behaviour string, to *bytes.Buffer, arguments ...string) error {
	environment := append(environmentWith("/push-secret"), role+"="+behaviour)
	return execute(ctx, os.Args[0], arguments, environment, newOutput(to, noSecrets))
}

func TestExecute(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", "/elsewhere")
	t.Setenv("DOCKER_AUTH_CONFIG", "{}")
	var printed bytes.Buffer
	require.NoError(t, run(t.Context(), "prints its arguments", &printed, "--label=a=$(id) \"b\" 'c'\nd", "--x"))
	assert.Equal(t, "[\"--label=a=$(id) \\\"b\\\" 'c'\\nd\" \"--x\"]\n/push-secret \n", printed.String())
}

func TestExecuteErrors(t *testing.T) {
	tests := map[string]struct {
		printed, reason, message string
		transient                bool
	}{
		"401 of the registry": {
			printed: "error pushing image: failed to push to destination h/x:v1: POST https://h/v2/x/blobs/uploads/: unexpected status code 401 Unauthorized",
			reason:  v1alpha1.ReasonRegistryUnauthorized, message: "the registry refused the image builder: error pushing image",
		},
		"an error code of the registry": {
			printed: "error checking push permissions: POST https://h/v2/: DENIED: requested access to the resource is denied",
			reason:  v1alpha1.ReasonRegistryUnauthorized, message: "DENIED",
		},
		"no connection": {
			printed: `error building image: Get "https://h/v2/": dial tcp 10.0.0.1:443: connect: connection refused`,
			reason:  v1alpha1.ReasonRegistryUnreachable, message: "the image builder cannot access the registry: error building image", transient: true,
		},
		"a 503 of the registry": {
			printed: "error pushing image: failed to push to destination h/x:v1: PATCH https://h/v2/x/blobs/uploads/1: unexpected status code 503 Service Unavailable",
			reason:  v1alpha1.ReasonRegistryUnreachable, message: "status code 503", transient: true,
		},
		"a 429 of the registry": {
			printed: "error pushing image: failed to push to destination h/x:v1: POST https://h/v2/x/blobs/uploads/: unexpected status code 429 Too Many Requests",
			reason:  v1alpha1.ReasonRateLimited, message: "status code 429", transient: true,
		},
		"an interrupted connection": {
			printed: `error pushing image: failed to push to destination h/x:v1: Patch "https://h/v2/x/blobs/uploads/1": EOF`,
			reason:  v1alpha1.ReasonRegistryUnreachable, message: "EOF", transient: true,
		},
		"an interrupted connection, closed on this side": {
			printed: `error pushing image: failed to push to destination h/x:v1: Patch "https://h/v2/x/blobs/uploads/1": readfrom tcp 10.0.0.9:1->10.0.0.1:2: write tcp 10.0.0.9:1->10.0.0.1:2: use of closed network connection`,
			reason:  v1alpha1.ReasonRegistryUnreachable, message: "closed network connection", transient: true,
		},
		"an unknown host": {
			printed: `error building image: Get "https://h/v2/": dial tcp: lookup h: no such host`,
			reason:  v1alpha1.ReasonRegistryUnreachable, message: "no such host",
		},
		"an unknown authority": {
			printed: `error pushing image: Get "https://h/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority`,
			reason:  v1alpha1.ReasonRegistryUntrusted, message: "unknown authority",
		},
		"a missing repository": {
			printed: "error checking push permissions: POST https://h/v2/x/blobs/uploads/: NAME_UNKNOWN: The repository with name 'x' does not exist in the registry with id '123456789012'",
			reason:  v1alpha1.ReasonRepositoryMissing, message: "NAME_UNKNOWN",
		},
		"401 for a repository named quota": {
			printed: "error pushing image: failed to push to destination h/quota:v1: POST https://h/v2/quota/blobs/uploads/: unexpected status code 401 Unauthorized",
			reason:  v1alpha1.ReasonRegistryUnauthorized, message: "the registry refused the image builder",
		},
		"a full disk": {
			printed: "error building image: failed to take snapshot: write /kaniko/123: no space left on device",
			reason:  v1alpha1.ReasonBuildFailed, message: "ran out of disk space",
		},
		"a file without read permission": {
			printed: "error building image: open /source/a: permission denied",
			reason:  v1alpha1.ReasonBuildFailed, message: "the image builder failed: error building image: open /source/a: permission denied",
		},
		"too much memory": {printed: "is killed", reason: v1alpha1.ReasonOutOfMemory, message: "exceeded its memory limit"},
		"no output":       {printed: " ", reason: v1alpha1.ReasonBuildFailed, message: "it printed nothing and exited with code 3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), tt.printed, &bytes.Buffer{})
			require.Error(t, err)
			got := failure.Of(err)
			assert.Equal(t, tt.reason, got.Reason)
			assert.Contains(t, got.Message, tt.message)
			assert.Equal(t, tt.transient, got.Transient)
		})
	}
}

func TestExecuteWithoutExecutor(t *testing.T) {
	err := execute(t.Context(), "/nowhere/executor", nil, nil, newOutput(&bytes.Buffer{}, noSecrets))
	require.Error(t, err)
	assert.Contains(t, failure.Of(err).Message, "the image builder cannot be started")
}

// canceling cancels a context when something is printed.
type canceling struct {
	bytes.Buffer
	cancel context.CancelFunc
}

func (c *canceling) Write(p []byte) (int, error) {
	c.cancel()
	return c.Buffer.Write(p)
}

func TestExecuteCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	printed := &canceling{cancel: cancel}
	environment := append(os.Environ(), role+"=waits")
	err := execute(ctx, os.Args[0], nil, environment, newOutput(printed, noSecrets))
	require.ErrorContains(t, err, "the build was canceled")
	assert.Equal(t, "waiting\ngot terminated\n", printed.String())
}

func TestArguments(t *testing.T) {
	common := strings.Fields(`
		--context=dir:///kiln/context
		--dockerfile=/kiln/context/Dockerfile
		--no-push
		--compressed-caching=false
		--compression=zstd
		--compression-level=1
		--snapshot-mode=redo
		--cache=false
		--ignore-path=/staging
		--image-download-retry=3
		--force
		--log-format=color
	`)
	tests := map[string]struct {
		invocation invocation
		want       []string
	}{
		"no base image":           {invocation{CAFile: "/registry-ca/ca.crt"}, nil},
		"a base image over HTTP":  {invocation{BaseHost: "h:5000", PlainHTTP: true, CAFile: "/registry-ca/ca.crt"}, []string{"--insecure-registry=h:5000"}},
		"a base image over HTTPS": {invocation{BaseHost: "index.docker.io"}, nil},
		"a private authority":     {invocation{BaseHost: "h", CAFile: "/registry-ca/ca.crt"}, []string{"--registry-certificate=h=/registry-ca/ca.crt"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.invocation.Context, tt.invocation.IgnoredDir = "/kiln/context", "/staging"
			assert.Equal(t, slices.Concat(common, tt.want), tt.invocation.arguments())
		})
	}
}
