package kaniko

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"syscall"
	"time"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// gracePeriod is how long Kaniko has to end after SIGTERM.
const gracePeriod = 5 * time.Second

// execute runs the executor and writes what it prints to output. When the context is
// canceled, Kaniko receives SIGTERM. Unless the context was canceled, the error is
// a *failure.Error with Kaniko's own error message, if it printed one.
func execute(ctx context.Context, executor string, arguments, environment []string, output *output) error {
	command := exec.CommandContext(ctx, executor, arguments...)
	command.Env = environment
	command.Dir = "/"
	command.Stdout, command.Stderr = output, output
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = gracePeriod

	err := command.Run()
	output.flush()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the build was canceled: %w", err)
	}
	return classify(output.errorMessage(), err)
}

// Patterns of the errors of networks and disks, as the registry library that Kaniko
// uses prints them.
var (
	untrusted   = regexp.MustCompile(`x509: |tls: failed to verify`)
	unreachable = regexp.MustCompile(`no such host|tls: |HTTP response to HTTPS client`)
	// transient matches errors after which a retry may succeed.
	transient = regexp.MustCompile(`connection refused|connection reset|i/o timeout|TLS handshake timeout|no route to host|network is unreachable|server misbehaving|broken pipe|closed network connection|\bEOF\b|status code (408|429|50[0234])\b`)
	diskFull  = regexp.MustCompile(`no space left on device`)
)

// classify returns the failure that Kaniko's error message describes.
func classify(message string, err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return failure.New(v1alpha1.ReasonBuildFailed, "the image builder cannot be started: %v", err).WithCause(err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return failure.New(v1alpha1.ReasonOutOfMemory, "the image builder was killed, probably because it exceeded its memory limit").WithCause(err)
	}
	if message == "" {
		message = fmt.Sprintf("it printed nothing and exited with code %d", exit.ExitCode())
	}
	if kind, found := registry.KindOfMessage(message); found {
		f := failure.New(failure.ReasonOf(kind), "%s: %s", refusal(kind), message).WithCause(err)
		f.Transient = kind == registry.RateLimited || transient.MatchString(message)
		return f
	}
	switch {
	case untrusted.MatchString(message):
		return failure.New(v1alpha1.ReasonRegistryUntrusted, "the image builder does not trust the registry's certificate: %s", message).WithCause(err)
	case transient.MatchString(message):
		f := failure.New(v1alpha1.ReasonRegistryUnreachable, "the image builder cannot access the registry: %s", message).WithCause(err)
		f.Transient = true
		return f
	case unreachable.MatchString(message):
		return failure.New(v1alpha1.ReasonRegistryUnreachable, "the image builder cannot access the registry: %s", message).WithCause(err)
	case diskFull.MatchString(message):
		return failure.New(v1alpha1.ReasonBuildFailed, "the image builder ran out of disk space; it needs twice the size of the model: %s", message).WithCause(err)
	default:
		return failure.New(v1alpha1.ReasonBuildFailed, "the image builder failed: %s", message).WithCause(err)
	}
}

// refusal returns what the response of the base image's registry to Kaniko means.
// Kaniko does not push.
func refusal(kind registry.Kind) string {
	if kind == registry.Unauthorized {
		return "the registry refused the image builder"
	}
	return "the image builder cannot access the registry"
}
