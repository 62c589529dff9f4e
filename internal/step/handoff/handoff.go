// Package handoff defines what the steps of a build leave for each other in the
// directory that they share: the plan, what the registry must hold in the end,
// the report, and the program that Kaniko runs.
package handoff

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/modelkiln/modelkiln/internal/report"
)

// Names of the files. They are the same in every release, since users look at
// them in failed pods.
const (
	planFile        = "plan.json"
	expectationFile = "expected.json"
	programFile     = "modelkiln-step"
)

// Dir is the directory that the steps of a build share.
type Dir string

// Path returns the path of a file in the directory.
func (d Dir) Path(name string) string { return filepath.Join(string(d), name) }

// Program returns the path at which mount-check installs this program for the
// container of Kaniko, whose image does not have it.
func (d Dir) Program() string { return d.Path(programFile) }

// ReadPlan reads the plan that mount-check wrote.
func (d Dir) ReadPlan() (Plan, error) { return read[Plan](d.Path(planFile)) }

// WritePlan writes the plan.
func (d Dir) WritePlan(p Plan) error { return write(d.Path(planFile), p) }

// ReadExpectation reads what the registry must hold.
func (d Dir) ReadExpectation() (Expectation, error) {
	return read[Expectation](d.Path(expectationFile))
}

// WriteExpectation writes what the registry must hold.
func (d Dir) WriteExpectation(e Expectation) error { return write(d.Path(expectationFile), e) }

// StartReport replaces the report, which may be that of an earlier attempt, with
// an empty one.
func (d Dir) StartReport(run report.Run) error {
	return report.Write(string(d), report.Report{Run: run})
}

// ReadReport reads the report.
func (d Dir) ReadReport() (report.Report, error) { return report.Read(string(d)) }

// UpdateReport changes the report. Steps run one after the other, so that there
// is only one writer.
func (d Dir) UpdateReport(change func(r *report.Report)) error {
	r, err := d.ReadReport()
	if err != nil {
		return err
	}
	change(&r)
	return report.Write(string(d), r)
}

func read[T any](file string) (T, error) {
	var content, none T
	raw, err := os.ReadFile(file)
	if err != nil {
		return none, fmt.Errorf("read the output of an earlier step: %w", err)
	}
	if err := json.Unmarshal(raw, &content); err != nil {
		return none, fmt.Errorf("read the output of an earlier step in %s: %w", file, err)
	}
	return content, nil
}

// write writes a file that every user can read.
func write(file string, content any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode %s: %w", file, err)
	}
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		return fmt.Errorf("write for the next step: %w", err)
	}
	return nil
}
