package step

import (
	"context"
	"errors"
	"flag"
	"io"

	"github.com/modelkiln/modelkiln/internal/report"
)

// printReport is the last container: it prints the report for people, while
// Argo takes the file as the workflow's output.
type printReport struct{ *places }

func definePrintReport(_ *flag.FlagSet, at *places) action {
	return (&printReport{places: at}).run
}

func (p *printReport) run(_ context.Context, out io.Writer) error {
	r, err := report.Read(p.shared)
	if err != nil {
		return err
	}
	if r == (report.Report{}) {
		return errors.New("there is no report: no step has run")
	}
	say(out, "image   %s", r.Run.Image)
	if r.Source != nil {
		say(out, "source  %d files, %s, %d layers", r.Source.Files, size(r.Source.Bytes), r.Source.Layers)
	}
	if r.Image != nil {
		say(out, "pushed  %s@%s", r.Image.Reference, r.Image.Digest)
		say(out, "        %d layers with the base image's, %s as stored", r.Image.Layers, size(r.Image.Bytes))
	}
	switch {
	case r.Failure != nil:
		say(out, "result  failed in %s, %s: %s", r.Failure.Step, r.Failure.Reason, r.Failure.Message)
	case r.Image == nil:
		say(out, "result  not finished")
	case r.Source != nil && r.Source.AlreadyPushed:
		say(out, "result  verified; it was in the registry already")
	default:
		say(out, "result  pushed and verified")
	}
	return nil
}
