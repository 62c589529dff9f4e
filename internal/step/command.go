// Package step holds the programs that run inside a build's pod: one command
// for each step of the workflow, and one that Kaniko runs.
// Each prints what it checks, in plain lines without secrets, for the log that
// the Argo UI shows, and adds its part to the report on the volume that the
// steps share.
package step

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// The steps that a failure may belong to, as the workflow names them.
const (
	stepMountCheck   = "mount-check"
	stepBuild        = "build"
	stepStatusReport = "status-report"
)

// action does what a command is for. What it prints goes to out.
type action func(ctx context.Context, out io.Writer) error

// command is one command of the program.
type command struct {
	name, summary string
	// step is the step that a failure belongs to; empty when it is not
	// reported.
	step string
	// define defines the command's flags and returns what it does with them.
	define func(flags *flag.FlagSet, at *places) action
}

var commands = []command{
	{name: "mount-check", summary: "check storage, credentials and tag, and plan the layers", step: stepMountCheck, define: defineMountCheck},
	{name: "build", summary: "build and push the image with Kaniko", step: stepBuild, define: defineBuild},
	{name: "stream", summary: "build and push the image without Kaniko", step: stepBuild, define: defineStream},
	{name: "pack", summary: "have the build step put one layer into the image; Kaniko runs it", define: definePack},
	{name: "status-report", summary: "ask the registry what it holds now", step: stepStatusReport, define: defineStatusReport},
	{name: "output", summary: "be there, so that Argo takes the report", define: defineOutput},
}

// places are the files and folders of the pod, as the workflow template lays
// them out. Tests lay them out elsewhere.
type places struct {
	// shared is the volume that all steps share.
	shared string
	// terminationLog is where a container leaves its last words.
	terminationLog string
}

// Main runs the command that args name, without the program's own name, and
// returns the process's exit code: 0, 1 for a failure that was reported, 2 for a
// call that is wrong.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return exitUsage
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(ctx, args[1:], stdout, stderr)
		}
	}
	_, _ = fmt.Fprintf(stderr, "there is no command %q\n", args[0])
	usage(stderr)
	return exitUsage
}

func usage(to io.Writer) {
	_, _ = fmt.Fprintln(to, "usage: modelkiln-step COMMAND [--flag=value...]")
	for _, c := range commands {
		_, _ = fmt.Fprintf(to, "  %-14s %s\n", c.name, c.summary)
	}
}

func (c command) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	at := &places{}
	flags.StringVar(&at.shared, "shared", "/kiln", "the `folder` that all steps share")
	flags.StringVar(&at.terminationLog, "termination-log", "/dev/termination-log", "the `file` for the last words")
	act := c.define(flags, at)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitDone
		}
		return exitUsage
	}
	if flags.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "%s takes flags only, and got %q\n", c.name, flags.Arg(0))
		return exitUsage
	}
	err := act(ctx, &lines{to: stdout})
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil {
		err = stopped(err)
	}
	c.fail(at, failure.Of(err), stderr)
	return exitFailed
}

// errDiskLimit says that a step which was told to end may have used more disk
// than it is allowed: kubelet ends its pod for that too.
var errDiskLimit = errors.New("the limit of ephemeral storage is near")

// stopped is the failure of a step that was told to end. Where nobody ended the
// Workflow, the node drains or its pod was deleted: another pod may do better,
// unless it would fill the disk like this one.
func stopped(cause error) *failure.Error {
	why := failure.New(v1alpha1.ReasonPodLost, "its pod was told to end, as by a node that is drained").Because(cause)
	why.Transient = !errors.Is(cause, errDiskLimit)
	return why
}

// fail tells everyone who may ask why the command failed.
func (c command) fail(at *places, f *failure.Error, stderr io.Writer) {
	_, _ = fmt.Fprintf(stderr, "FAILED %s: %s\n", f.Reason, f.Sentence)
	if f.Cause != nil {
		_, _ = fmt.Fprintf(stderr, "  because of: %v\n", f.Cause)
	}
	if c.step == "" {
		return
	}
	if err := addToReport(at.shared, func(r *report.Report) {
		r.Failure = &report.Failure{Step: c.step, Reason: f.Reason, Message: f.Sentence, Transient: f.Transient}
	}); err != nil {
		_, _ = fmt.Fprintf(stderr, "the failure is not in the report: %v\n", err)
	}
	// The file is there in a pod and nowhere else.
	if last, err := os.OpenFile(at.terminationLog, os.O_WRONLY|os.O_TRUNC, 0); err == nil {
		_, _ = fmt.Fprintf(last, "%s: %s", f.Reason, f.Sentence)
		_ = last.Close()
	}
}

// addToReport changes the report on the shared volume. Steps run one after the
// other, so that nobody else writes it meanwhile.
func addToReport(shared string, change func(r *report.Report)) error {
	r, err := report.Read(shared)
	if err != nil {
		return err
	}
	change(&r)
	return report.Write(shared, r)
}

// lines are a step's log, which may be written by several at the same time.
type lines struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(p)
}

// say prints a line to a step's log.
func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, format+"\n", args...)
}
