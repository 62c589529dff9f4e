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
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// gracePeriod is how long Kaniko has to end after it was asked to.
const gracePeriod = 5 * time.Second

// Run runs the executor and passes on what it prints. When the context ends,
// Kaniko is told by the signal that the pod was told by. The error of a
// failure is a *failure.Error with Kaniko's own words, as far as they are
// known, unless the context has ended.
func Run(ctx context.Context, executor string, arguments, environment []string, output *Output) error {
	command := exec.CommandContext(ctx, executor, arguments...)
	command.Env = environment
	command.Dir = "/"
	command.Stdout, command.Stderr = output, output
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = gracePeriod

	err := command.Run()
	output.Flush()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the build was stopped: %w", err)
	}
	return classify(output.LastWords(), err)
}

// Patterns of what registries and networks say, as the registry library that
// Kaniko is built on prints it.
var (
	// Registries answer 413 themselves, or a proxy before them does; a used-up
	// quota is 507, or a denial in words, as Harbor's "will exceed the configured
	// upper limit".
	full         = regexp.MustCompile(`(?i)status code (413|507)\b|request entity too large|insufficient storage|will exceed the configured|quota (has been )?exceeded|exceeds? (the|your) quota`)
	untrusted    = regexp.MustCompile(`x509: |tls: failed to verify`)
	unauthorized = regexp.MustCompile(`UNAUTHORIZED|DENIED|\b401 Unauthorized|\b403 Forbidden|status code 40[13]\b`)
	unreachable  = regexp.MustCompile(`no such host|tls: |HTTP response to HTTPS client`)
	// passing is what may go well a little later.
	passing  = regexp.MustCompile(`connection refused|connection reset|i/o timeout|TLS handshake timeout|no route to host|network is unreachable|server misbehaving|broken pipe|closed network connection|\bEOF\b|TOOMANYREQUESTS|status code (429|50[0234])\b`)
	diskFull = regexp.MustCompile(`no space left on device`)
)

// classify makes a failure of Kaniko's last words.
func classify(words string, err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return failure.New(v1alpha1.ReasonBuildFailed, "the image builder cannot be started: %v", err).Because(err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return failure.New(v1alpha1.ReasonOutOfMemory, "the image builder was killed, most likely for using more memory than its limit").Because(err)
	}
	if words == "" {
		words = fmt.Sprintf("it printed nothing and ended with code %d", exit.ExitCode())
	}
	switch {
	case full.MatchString(words):
		return failure.New(v1alpha1.ReasonRegistryFull, "the registry does not take that much, have its limit or its quota raised: %s", words).Because(err)
	case untrusted.MatchString(words):
		return failure.New(v1alpha1.ReasonRegistryUntrusted, "the image builder does not trust the registry's certificate: %s", words).Because(err)
	case unauthorized.MatchString(words):
		return failure.New(v1alpha1.ReasonRegistryUnauthorized, "the registry refused the image builder: %s", words).Because(err)
	case passing.MatchString(words):
		why := failure.New(v1alpha1.ReasonRegistryUnreachable, "the image builder could not talk to the registry: %s", words).Because(err)
		why.Transient = true
		return why
	case unreachable.MatchString(words):
		return failure.New(v1alpha1.ReasonRegistryUnreachable, "the image builder could not talk to the registry: %s", words).Because(err)
	case diskFull.MatchString(words):
		return failure.New(v1alpha1.ReasonBuildFailed, "the image builder ran out of disk space, of which it needs twice the model's size: %s", words).Because(err)
	default:
		return failure.New(v1alpha1.ReasonBuildFailed, "the image builder failed: %s", words).Because(err)
	}
}
