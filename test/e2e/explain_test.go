//go:build e2e

package e2e

import (
	"context"
	"regexp"
	"strings"
	"testing"
)

// explainAfter prints, if the test has failed, what someone would look at to
// find out why.
func (c *cluster) explainAfter(t *testing.T, namespace string) {
	t.Helper()
	after(t, func(ctx context.Context) {
		if !t.Failed() {
			return
		}
		for _, command := range [][]string{
			{"get", "mv,mo", "-n", namespace, "-o", "yaml"},
			{"get", "wf", "-n", namespace, "-o", `jsonpath={range .items[*]}{.metadata.name}{"  "}{.status.phase}{"  "}{.status.message}{"\n"}{.spec.arguments.parameters}{"\n"}{range .status.nodes.*}    {.displayName}{"  "}{.phase}{"  "}{.message}{"\n"}{end}{.status.outputs.parameters}{"\n"}{end}`},
			{"get", "pods", "-n", namespace, "-o", "wide"},
			{"get", "events", "-n", namespace, "--sort-by=.lastTimestamp"},
			{"logs", "-n", namespace, "-l", workflowLabel, "--all-containers", "--prefix", "--tail=60", "--max-log-requests=60", "--ignore-errors"},
		} {
			t.Logf("kubectl %s %s:\n%s", command[0], command[1], withoutExecutor(explain(ctx, command...)))
		}
		log := explain(ctx, "logs", "-n", operatorNamespace, "-l", "app.kubernetes.io/component=controller", "--prefix", "--tail=-1", "--since=5m")
		t.Logf("the operator about namespace %s:\n%s", namespace, linesWith(log, namespace))
	})
}

// explain returns what kubectl prints, or why it does not.
func explain(ctx context.Context, command ...string) string {
	out, err := try(ctx, "kubectl", command...)
	if err != nil {
		out += err.Error()
	}
	return out
}

// linesWith returns the lines of a log that contain a text: the log of the
// operator is about the tests that run at the same time, too.
func linesWith(log, text string) string {
	var found strings.Builder
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			found.WriteString(line)
		}
	}
	return found.String()
}

// executor matches what Argo's own containers log in a build's pod: a lot, and
// nothing of the build.
var executor = regexp.MustCompile(`(?m)^\[pod/[^/]+/(init|wait)\].*\n|^.* argo=true.*\n`)

func withoutExecutor(log string) string { return executor.ReplaceAllString(log, "") }
