// Package step implements modelkiln-step, the program that runs in a build's pod:
// one command for each step of the workflow, and one that Kaniko runs. Each logs
// what it checks, in plain lines without secrets, for the Argo UI, and adds its
// part to the report on the volume that the steps share.
//
// The engines are in the packages kaniko and stream.
package step

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/kaniko"
	"github.com/modelkiln/modelkiln/internal/version"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// action runs a command. It writes its log to log.
type action func(ctx context.Context, log io.Writer) error

// command is one command of the program.
type command struct {
	name, summary string
	// step is the step to which the report assigns a failure; empty if failures
	// are not reported.
	step string
	// define defines the command's flags and returns its action.
	define func(flags *flag.FlagSet, paths *paths) action
}

var commands = []command{
	{name: "mount-check", summary: "check the storage, the credentials and the tag, and plan the layers", step: contract.StepMountCheck, define: defineMountCheck},
	{name: "build", summary: "build and push the image with the engine Kaniko", step: contract.StepBuild, define: defineBuild},
	{name: "stream", summary: "build and push the image with the engine Stream", step: contract.StepBuild, define: defineStream},
	{name: kaniko.PackCommand, summary: "add one layer to the image; Kaniko runs it during build", define: definePack},
	{name: "status-report", summary: "verify the image in the registry", step: contract.StepStatusReport, define: defineStatusReport},
	{name: "promote", summary: "move a tag to an image of a Model", step: contract.StepPromote, define: definePromote},
	{name: contract.VerifyFilesCommand, summary: "verify the files of a model before a pod serves them", define: defineVerifyFiles},
	{name: "output", summary: "wait for the result of the build and log it; Argo collects the outputs from its container, main", define: defineOutput},
}

// paths are where the pod's files are. Their defaults are those of the workflow
// template.
type paths struct {
	// shared is the directory that all steps share.
	shared handoff.Dir
	// terminationLog is the container's termination message.
	terminationLog string
}

// Main runs the command in args, which do not include the program's name, and
// returns the exit code: 0 on success, 1 for a failure, 2 for wrong usage.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return exitUsage
	}
	if slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		usage(stdout)
		return exitOK
	}
	if slices.Contains([]string{"-version", "--version", "version"}, args[0]) {
		console.Logf(stdout, "modelkiln-step %s", version.Get())
		return exitOK
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(ctx, args[1:], stdout, stderr)
		}
	}
	console.Logf(stderr, "unknown command %q", args[0])
	usage(stderr)
	return exitUsage
}

func usage(to io.Writer) {
	console.Logf(to, "usage: modelkiln-step COMMAND [--flag=value...]")
	for _, c := range commands {
		console.Logf(to, "  %-14s %s", c.name, c.summary)
	}
	console.Logf(to, "modelkiln-step COMMAND -h lists the flags of a command; modelkiln-step --version prints the version.")
}

func (c command) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	p := &paths{}
	flags.StringVar((*string)(&p.shared), "shared", "/kiln", "the `directory` of the volume that all steps share")
	flags.StringVar(&p.terminationLog, "termination-log", "/dev/termination-log", "the `file` that receives the termination message of the container")
	act := c.define(flags, p)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitUsage
	}
	if flags.NArg() > 0 {
		console.Logf(stderr, "%s accepts flags only, not the argument %q", c.name, flags.Arg(0))
		return exitUsage
	}
	err := act(ctx, console.NewLog(stdout))
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		err = terminated(err)
	}
	c.reportFailure(p, failure.Of(err), stderr)
	return exitFailed
}

// terminated returns the failure of a step that received SIGTERM although the
// Workflow was not stopped: its node is drained, or its pod was deleted. Another pod
// may succeed, unless it would fill the disk like this one.
func terminated(cause error) *failure.Error {
	f := failure.New(v1alpha1.ReasonPodLost, "the pod was terminated, for example by a node drain").WithCause(cause)
	f.Transient = !errors.Is(cause, kaniko.ErrNearDiskLimit)
	return f
}

// reportFailure writes why the command failed to the log, the report and the
// container's termination message.
func (c command) reportFailure(p *paths, f *failure.Error, stderr io.Writer) {
	console.Logf(stderr, "FAILED %s: %s", f.Reason, f.Message)
	if f.Cause != nil {
		console.Logf(stderr, "  cause: %v", f.Cause)
	}
	if c.step == "" {
		return
	}
	if err := p.shared.UpdateReport(func(r *report.Report) {
		r.Failure = &report.Failure{Step: c.step, Reason: f.Reason, Message: f.Message, Transient: f.Transient}
	}); err != nil {
		console.Logf(stderr, "cannot add the failure to the report: %v", err)
	}
	// Only a pod has this file.
	if message, err := os.OpenFile(p.terminationLog, os.O_WRONLY|os.O_TRUNC, 0); err == nil {
		_, _ = fmt.Fprintf(message, "%s: %s", f.Reason, f.Message)
		_ = message.Close()
	}
}
