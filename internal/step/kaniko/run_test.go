package kaniko

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// pretend is the variable that turns the test program into an executor.
const pretend = "PRETEND_TO_BE_KANIKO"

func TestMain(m *testing.M) {
	if role := os.Getenv(pretend); role != "" {
		os.Exit(executor(role))
	}
	os.Exit(m.Run())
}

// executor behaves as its role says.
func executor(role string) int {
	switch role {
	case "waits":
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		fmt.Fprintln(os.Stdout, "waiting")
		fmt.Fprintln(os.Stdout, "got", <-asked)
		return 1
	case "is killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "prints its arguments":
		fmt.Fprintf(os.Stdout, "%q\n", os.Args[1:])
		fmt.Fprintln(os.Stdout, os.Getenv("DOCKER_CONFIG"), os.Getenv("DOCKER_AUTH_CONFIG"))
		return 0
	default:
		fmt.Fprintln(os.Stderr, role)
		return 3
	}
}

func run(ctx context.Context, role string, to *bytes.Buffer, arguments ...string) error {
	environment := append(Environment("/push-secret"), pretend+"="+role)
	return Run(ctx, os.Args[0], arguments, environment, NewOutput(to, nil))
}

func TestRunPassesArgumentsAndCredentialsFolder(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", "/elsewhere")
	t.Setenv("DOCKER_AUTH_CONFIG", "{}")
	var printed bytes.Buffer
	require.NoError(t, run(t.Context(), "prints its arguments", &printed, "--label=a=$(id) \"b\" 'c'\nd", "--x"))
	assert.Equal(t, "[\"--label=a=$(id) \\\"b\\\" 'c'\\nd\" \"--x\"]\n/push-secret \n", printed.String())
}

func TestRunSaysWhatWentWrong(t *testing.T) {
	tests := map[string]struct {
		role, reason, sentence string
		transient              bool
	}{
		"a refusal": {
			role:   "error pushing image: failed to push to destination h/x:v1: POST https://h/v2/x/blobs/uploads/: unexpected status code 401 Unauthorized",
			reason: v1alpha1.ReasonRegistryUnauthorized, sentence: "the registry refused the image builder: error pushing image",
		},
		"a refusal with a code": {
			role:   "error checking push permissions: POST https://h/v2/: DENIED: requested access to the resource is denied",
			reason: v1alpha1.ReasonRegistryUnauthorized, sentence: "DENIED",
		},
		"no connection": {
			role:   `error building image: Get "https://h/v2/": dial tcp 10.0.0.1:443: connect: connection refused`,
			reason: v1alpha1.ReasonRegistryUnreachable, sentence: "the image builder could not talk to the registry: error building image", transient: true,
		},
		"a registry that has a fault": {
			role:   "error pushing image: failed to push to destination h/x:v1: PATCH https://h/v2/x/blobs/uploads/1: unexpected status code 503 Service Unavailable",
			reason: v1alpha1.ReasonRegistryUnreachable, sentence: "status code 503", transient: true,
		},
		"a registry that is asked too often": {
			role:   "error pushing image: failed to push to destination h/x:v1: POST https://h/v2/x/blobs/uploads/: unexpected status code 429 Too Many Requests",
			reason: v1alpha1.ReasonRegistryUnreachable, sentence: "status code 429", transient: true,
		},
		"a connection that is cut": {
			role:   `error pushing image: failed to push to destination h/x:v1: Patch "https://h/v2/x/blobs/uploads/1": EOF`,
			reason: v1alpha1.ReasonRegistryUnreachable, sentence: "EOF", transient: true,
		},
		"a connection that is cut, and it is closed on this side": {
			role:   `error pushing image: failed to push to destination h/x:v1: Patch "https://h/v2/x/blobs/uploads/1": readfrom tcp 10.0.0.9:1->10.0.0.1:2: write tcp 10.0.0.9:1->10.0.0.1:2: use of closed network connection`,
			reason: v1alpha1.ReasonRegistryUnreachable, sentence: "closed network connection", transient: true,
		},
		"a host that nobody knows": {
			role:   `error building image: Get "https://h/v2/": dial tcp: lookup h: no such host`,
			reason: v1alpha1.ReasonRegistryUnreachable, sentence: "no such host",
		},
		"an unknown authority": {
			role:   `error pushing image: Get "https://h/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority`,
			reason: v1alpha1.ReasonRegistryUntrusted, sentence: "unknown authority",
		},
		"a layer that is too large for a proxy": {
			role:   "error pushing image: failed to push to destination h/x:v1: PATCH https://h/v2/x/blobs/uploads/1: unexpected status code 413 Request Entity Too Large",
			reason: v1alpha1.ReasonRegistryFull, sentence: "the registry does not take that much",
		},
		"a used-up quota": {
			role:   "error pushing image: failed to push to destination h/x:v1: PUT https://h/v2/x/manifests/v1: DENIED: adding 2.0 GiB of storage resource, which when updated to current usage of 9.0 GiB will exceed the configured upper limit of 10.0 GiB.",
			reason: v1alpha1.ReasonRegistryFull, sentence: "have its limit or its quota raised",
		},
		"a refusal for a repository that is called quota": {
			role:   "error pushing image: failed to push to destination h/quota:v1: POST https://h/v2/quota/blobs/uploads/: unexpected status code 401 Unauthorized",
			reason: v1alpha1.ReasonRegistryUnauthorized, sentence: "the registry refused the image builder",
		},
		"a full disk": {
			role:   "error building image: failed to take snapshot: write /kaniko/123: no space left on device",
			reason: v1alpha1.ReasonBuildFailed, sentence: "ran out of disk space",
		},
		"a file that may not be read is no refusal of the registry": {
			role:   "error building image: open /source/a: permission denied",
			reason: v1alpha1.ReasonBuildFailed, sentence: "the image builder failed: error building image: open /source/a: permission denied",
		},
		"too much memory": {role: "is killed", reason: v1alpha1.ReasonOutOfMemory, sentence: "more memory than its limit"},
		"no word":         {role: " ", reason: v1alpha1.ReasonBuildFailed, sentence: "it printed nothing and ended with code 3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), tt.role, &bytes.Buffer{})
			require.Error(t, err)
			got := failure.Of(err)
			assert.Equal(t, tt.reason, got.Reason)
			assert.Contains(t, got.Sentence, tt.sentence)
			assert.Equal(t, tt.transient, got.Transient)
		})
	}
}

func TestRunSaysThatThereIsNoExecutor(t *testing.T) {
	err := Run(t.Context(), "/nowhere/executor", nil, nil, NewOutput(&bytes.Buffer{}, nil))
	require.Error(t, err)
	assert.Contains(t, failure.Of(err).Sentence, "the image builder cannot be started")
}

// cancelling ends a context when something was printed.
type cancelling struct {
	bytes.Buffer
	cancel context.CancelFunc
}

func (c *cancelling) Write(p []byte) (int, error) {
	c.cancel()
	return c.Buffer.Write(p)
}

func TestRunForwardsTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	printed := &cancelling{cancel: cancel}
	environment := append(os.Environ(), pretend+"=waits")
	err := Run(ctx, os.Args[0], nil, environment, NewOutput(printed, nil))
	require.ErrorContains(t, err, "the build was stopped")
	assert.Equal(t, "waiting\ngot terminated\n", printed.String())
}

func TestArguments(t *testing.T) {
	got := Invocation{
		Context: "/kiln/context", Destination: "h:5000/models/resnet:v1",
		PlainHTTP: []string{"h:5000"}, Encrypted: []string{"index.docker.io"}, CAFile: "/registry-ca/ca.crt",
		Ignored: "/staging",
		Labels:  map[string]string{"d": "e", "a": "b c"},
	}.Arguments()
	assert.Equal(t, strings.Fields(`
		--context=dir:///kiln/context
		--dockerfile=/kiln/context/Dockerfile
		--destination=h:5000/models/resnet:v1
		--compressed-caching=false
		--snapshot-mode=redo
		--cache=false
		--ignore-path=/staging
		--push-retry=3
		--image-download-retry=3
		--skip-push-permission-check
		--force
		--log-format=color
		--insecure-registry=h:5000
		--registry-certificate=index.docker.io=/registry-ca/ca.crt
	`), got[:len(got)-2])
	assert.Equal(t, []string{"--label=a=b c", "--label=d=e"}, got[len(got)-2:])
	assert.Subset(t, Invocation{Zstd: true}.Arguments(), []string{"--compression=zstd", "--compression-level=1"})

	without := Invocation{Context: "/kiln/context", Encrypted: []string{"index.docker.io"}}.Arguments()
	assert.Equal(t, "--log-format=color", without[len(without)-1])
}
