package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/console"
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
		return k.waitFor(ctx, c, name, isCurrent, k.Out)
	}
	return cmd
}

// waitFor shows the progress of a ModelVersion until it is ready or has failed, and prints
// its image to out. isNew reports whether its status is about what is waited for.
func (k *kiln) waitFor(ctx context.Context, c *cluster, name string, isNew func(*v1alpha1.ModelVersion) bool, out io.Writer) error {
	line := &progress{kiln: k, rewrites: isTerminal(k.ErrOut)}
	var result error
	err := c.untilVersion(ctx, name, func(mv *v1alpha1.ModelVersion) (bool, error) {
		if !isNew(mv) {
			return false, nil
		}
		switch word, reason := state(mv); word {
		case "Ready":
			line.end()
			_, err := fmt.Fprintf(out, "%s is ready: %s\n", mv.Name, pinned(mv))
			return true, err
		case "Failed":
			line.end()
			result = fmt.Errorf("%s is not built: %s: %s", mv.Name, orNone(reason), mv.Status.Message)
			return true, nil
		default:
			line.show(line.of(ctx, c, mv))
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
		// Without an attempt, the status says why none can begin.
		return isCurrent(mv) && (wf == nil || wf.Rebuild == request)
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

// sample is how far a build was at a time.
type sample struct {
	percent int32
	time    time.Time
}

// startOf returns the start of the attempt of a ModelVersion, at which nothing was done.
func startOf(mv *v1alpha1.ModelVersion) sample {
	if mv.Status.StartTime == nil {
		return sample{}
	}
	return sample{time: mv.Status.StartTime.Time}
}

// sampleOf returns the progress in the status of a ModelVersion, and false if it has none.
func sampleOf(mv *v1alpha1.ModelVersion) (sample, bool) {
	wf := mv.Status.Workflow
	if wf == nil || wf.ProgressPercent == nil || wf.ProgressTime == nil {
		return sample{}, false
	}
	return sample{*wf.ProgressPercent, wf.ProgressTime.Time}, true
}

// progressLine returns how far a build is, and how much time it needs at the rate since an
// earlier sample. total is the number of bytes that it copies, or 0 if that is not known.
// Argo reports the progress once a minute unless it is configured otherwise.
func progressLine(mv *v1alpha1.ModelVersion, since sample, total int64, now time.Time) string {
	word, reason := state(mv)
	measured, found := sampleOf(mv)
	if !found {
		return text.OneLine(joined(word, reason, mv.Status.Message), maxProgress)
	}
	copied := ""
	if total > 0 {
		copied = fmt.Sprintf("about %s of %s", console.Size(share(total, measured.percent)), console.Size(total))
	}
	return joined(word, fmt.Sprintf("%d%%", measured.percent), copied, estimate(since, measured, total, now))
}

// share returns a percentage of a number of bytes.
func share(total int64, percent int32) int64 { return int64(float64(total) / 100 * float64(percent)) }

// estimate returns the rate between two samples, and how much time is left at this rate;
// "" if nothing was done between them.
func estimate(from, to sample, total int64, now time.Time) string {
	done, spent := to.percent-from.percent, to.time.Sub(from.time)
	if from.time.IsZero() || done <= 0 || spent <= 0 {
		return ""
	}
	rate := fmt.Sprintf("%.1f%% a minute", float64(done)/spent.Minutes())
	if total > 0 {
		rate = console.Size(int64(float64(share(total, done))/spent.Seconds())) + "/s"
	}
	left := time.Duration(float64(spent)/float64(done)*float64(100-to.percent)) - now.Sub(to.time)
	return fmt.Sprintf("%s  about %s left", rate, max(0, left).Round(time.Second))
}

// progress shows one line on the error output: on a terminal in place, and elsewhere
// whenever it changes.
type progress struct {
	*kiln
	rewrites bool
	last     string
	// workflow is the attempt that first and total are about.
	workflow string
	// first is the first progress that was seen. The rate since then is not that of the
	// checks and the waiting before the copy.
	first sample
	// total is the number of bytes that the attempt copies, or 0 while it is not known.
	total int64
}

// of returns the line about a ModelVersion.
func (p *progress) of(ctx context.Context, c *cluster, mv *v1alpha1.ModelVersion) string {
	measured, found := sampleOf(mv)
	if !found {
		return progressLine(mv, sample{}, 0, now())
	}
	// A retry of the attempt begins again.
	if name := mv.Status.Workflow.Name; name != p.workflow || measured.percent < p.first.percent {
		p.workflow, p.first, p.total = name, measured, 0
	}
	if p.total == 0 {
		attempt, _ := c.currentAttempt(ctx, mv)
		p.total = attempt.Total
	}
	since := p.first
	if since.percent == measured.percent {
		since = startOf(mv)
	}
	return progressLine(mv, since, p.total, now())
}

func (p *progress) show(line string) {
	// A longer line takes two rows of a terminal, of which only the last is rewritten.
	if runes := []rune(line); p.rewrites && len(runes) > maxProgress {
		line = string(runes[:maxProgress])
	}
	if line == p.last {
		return
	}
	if p.rewrites {
		// The line before may have been longer.
		fmt.Fprintf(p.ErrOut, "\r%-*s", utf8.RuneCountInString(p.last), line)
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
