package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/text"
)

func (k *kiln) wait() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait VERSION",
		Short: "Wait until a ModelVersion is ready or has failed, and show the progress",
		Long: `Wait until a ModelVersion is ready or has failed, and show the progress.

The exit code is 0 if it is ready, and 1 if it has failed or the timeout has passed.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: k.completeVersions,
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait, for example 30m; 0 waits until the end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := versionName(args[0])
		if err != nil {
			return err
		}
		if timeout < 0 {
			return wrongUsage("--timeout must not be negative: omit it to wait until the end")
		}
		c, err := k.connect()
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("ModelVersion %s has not finished within %s: its state is shown by kubectl kiln why %s -n %s", name, timeout, name, c.namespace))
			defer cancel()
		}
		if _, err := c.version(ctx, name); err != nil {
			return err
		}
		return k.waitFor(ctx, c, name, isCurrent)
	}
	return cmd
}

// waitFor shows the progress of a ModelVersion until it is ready or has failed. isNew
// reports whether its status is about what is waited for.
func (k *kiln) waitFor(ctx context.Context, c *cluster, name string, isNew func(*v1alpha1.ModelVersion) bool) error {
	line := &progress{kiln: k, rewrites: isTerminal(k.ErrOut)}
	var result error
	err := c.untilVersion(ctx, name, func(mv *v1alpha1.ModelVersion) (bool, error) {
		if !isNew(mv) {
			return false, nil
		}
		switch word, reason := state(mv); word {
		case "Ready":
			line.end()
			_, err := fmt.Fprintf(k.Out, "%s is ready: %s\n", mv.Name, pinned(mv))
			return true, err
		case "Failed":
			line.end()
			result = fmt.Errorf("%s is not built: %s: %s", mv.Name, orNone(reason), mv.Status.Message)
			return true, nil
		default:
			line.show(progressLine(mv, now()))
			return false, nil
		}
	})
	if err == nil {
		return result
	}
	line.end()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return c.explain(err, "ModelVersion", name)
}

// isCurrent reports whether a status was computed from the present spec. That of a
// ModelVersion that KubeDL has finished is final.
func isCurrent(mv *v1alpha1.ModelVersion) bool {
	return mv.Status.ObservedGeneration == mv.Generation || len(mv.Status.Conditions) == 0
}

// requested returns a function that reports whether a status is about the attempt which
// the annotation of a ModelVersion requests.
func requested(want *v1alpha1.ModelVersion) func(*v1alpha1.ModelVersion) bool {
	request := want.Annotations[v1alpha1.AnnotationRebuild]
	return func(mv *v1alpha1.ModelVersion) bool {
		wf := mv.Status.Workflow
		return isCurrent(mv) && wf != nil && wf.Rebuild == request
	}
}

// pinned returns the image of a ModelVersion with its digest, or as it is known.
func pinned(mv *v1alpha1.ModelVersion) string {
	if mv.Status.Digest == "" {
		return mv.Status.Image
	}
	return mv.Status.Image + "@" + mv.Status.Digest
}

// maxProgress is the number of characters of a progress line, so that it can be
// rewritten on a terminal of the usual width.
const maxProgress = 79

// progressLine returns how far a build is, and how much time it needs. Argo reports the
// progress as a percentage, once a minute unless it is configured otherwise.
func progressLine(mv *v1alpha1.ModelVersion, now time.Time) string {
	word, reason := state(mv)
	parts := []string{word}
	if reason != "" {
		parts = append(parts, reason)
	}
	wf, start := mv.Status.Workflow, mv.Status.StartTime
	if wf != nil && wf.ProgressPercent != nil {
		done := time.Duration(*wf.ProgressPercent)
		parts = append(parts, fmt.Sprintf("%d%%", done))
		if measured := wf.ProgressTime; start != nil && measured != nil && done > 0 && measured.After(start.Time) {
			spent := measured.Sub(start.Time)
			left := max(0, spent*(100-done)/done-now.Sub(measured.Time))
			parts = append(parts, fmt.Sprintf("%.1f%% a minute", float64(done)/spent.Minutes()), fmt.Sprintf("about %s left", left.Round(time.Second)))
		}
		return strings.Join(parts, "  ")
	}
	if mv.Status.Message != "" {
		parts = append(parts, mv.Status.Message)
	}
	return text.OneLine(strings.Join(parts, "  "), maxProgress)
}

// progress shows one line on the error output: on a terminal in place, and elsewhere
// whenever it changes.
type progress struct {
	*kiln
	rewrites bool
	last     string
}

func (p *progress) show(line string) {
	if line == p.last {
		return
	}
	if p.rewrites {
		// The line before may have been longer.
		fmt.Fprintf(p.ErrOut, "\r%-*s", max(len(p.last), len(line)), line)
	} else {
		fmt.Fprintln(p.ErrOut, line)
	}
	p.last = line
}

// end begins a new line for what is printed next.
func (p *progress) end() {
	if p.rewrites && p.last != "" {
		fmt.Fprintln(p.ErrOut)
	}
	p.last = ""
}
