// Command controlplane measures what thousands of ModelVersions cost the operator and
// the API server: `make bench-control-plane`. A kube-apiserver and an etcd are real, and
// the operator is a process of its own. A stand-in for Argo's controller answers every
// Workflow at once: no pod runs. Compare figures only within one run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// settings are the benchmark's flags.
type settings struct {
	// scenarios are what is measured.
	scenarios []scenario
	// dir is the directory for programs and the API server's audit log.
	dir string
	// results is the directory for the table and the chart.
	results string
}

// A scenario is ModelVersions that are created at once.
type scenario struct {
	versions, models int
	// compared is whether the baseline, if any, is measured too.
	compared bool
}

func (s scenario) title() string {
	return fmt.Sprintf("%d versions in %d models", s.versions, s.models)
}

// A program is an operator.
type program struct {
	name, path string
}

func main() {
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-control-plane:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return errors.New("KUBEBUILDER_ASSETS is not set: run make bench-control-plane, or set it to the directory that `go -C test/cluster run . assets` prints")
	}
	var s settings
	flags := flag.NewFlagSet("controlplane", flag.ContinueOnError)
	versions := flags.Int("versions", 10_000, "the `number` of ModelVersions in 100 Models, without the baseline; 0 leaves this scenario out")
	fewer := flags.Int("fewer", 2_000, "the `number` of ModelVersions in 100 Models, with the baseline; 0 leaves this scenario out")
	oneModel := flags.Int("one-model", 2_000, "the `number` of ModelVersions in one Model, with the baseline; 0 leaves this scenario out")
	operator := flags.String("operator", "", "the `path` of a compiled operator; compiled from this checkout if empty")
	baseline := flags.String("baseline", "", "the `path` of another compiled operator to compare with, such as that of an earlier commit; the name of the file is its name in the table")
	flags.StringVar(&s.results, "results", "test/bench", "the `directory` for the table and the chart")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	for _, scenario := range []scenario{{*fewer, 100, true}, {*oneModel, 1, true}, {*versions, 100, false}} {
		if scenario.versions > 0 {
			s.scenarios = append(s.scenarios, scenario)
		}
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "modelkiln-bench-"); err != nil {
		return fmt.Errorf("create a work directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(s.dir) }()
	if *operator == "" {
		if *operator, err = compile(ctx, s.dir); err != nil {
			return err
		}
	}
	return s.measureAll(ctx, *baseline, *operator)
}

// compile compiles the operator of this checkout.
func compile(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "modelkiln")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/modelkiln")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("compile the operator: %w", err)
	}
	return path, nil
}

// own is the name of the operator that is measured in every scenario.
const own = "Modelkiln"

// measureAll measures both operators, or one if the path of the baseline is empty. The
// results are written after each scenario.
func (s settings) measureAll(ctx context.Context, baseline, operator string) error {
	var all []measurement
	for _, scenario := range s.scenarios {
		fmt.Println(scenario.title())
		plain, err := s.measurePlainClient(ctx, scenario)
		if err != nil {
			return fmt.Errorf("a plain client, %s: %w", scenario.title(), err)
		}
		fmt.Printf("  %-20s %6.1f versions a second\n", "plain", plain)
		operators := []program{{own, operator}}
		if scenario.compared && baseline != "" {
			operators = []program{{filepath.Base(baseline), baseline}, {own, operator}}
		}
		for _, program := range operators {
			m, err := s.measure(ctx, scenario, program)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", program.name, scenario.title(), err)
			}
			m.plain = plain
			fmt.Printf("  %-20s %6.1f versions a second, %s\n", program.name, m.throughput(), m.load)
			all = append(all, m)
		}
		if err := writeReport(s, all); err != nil {
			return err
		}
	}
	return nil
}
