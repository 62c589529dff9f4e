// Command engines compares Modelkiln's two engines with other tools that build
// an image of a model: `make bench`. The tools run one after the other against a
// registry on the same machine. Compare figures only within one run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// settings are the benchmark's flags.
type settings struct {
	// size is the total size of the model's files in bytes.
	size  int64
	files int
	runs  int
	// dir is the directory for the model, the programs and the registry's data.
	dir string
	// results is the directory for the table and the chart.
	results string
	// only contains the keys of the builders to measure in addition to Stream,
	// to which the others are compared. If it is empty, all are measured.
	only []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == readCommand {
		return readObjects(ctx, args[1], args[2])
	}
	var s settings
	flags := flag.NewFlagSet("engines", flag.ContinueOnError)
	mebibytes := flags.Int64("size", 2048, "the model's size in `MiB`")
	flags.IntVar(&s.files, "files", 8, "the `number` of files of the model")
	flags.IntVar(&s.runs, "runs", 5, "the `number` of runs")
	flags.StringVar(&s.dir, "dir", "/var/tmp/modelkiln-bench", "a work `directory` with space for six times the model's size; its content is deleted")
	flags.StringVar(&s.results, "results", "test/bench", "the `directory` for the table and the chart")
	flags.Func("only", "measure only this `builder` and Stream: kubedl, cache (Kaniko with its cache), kaniko, stream, times (Stream with ModTime), skip (Stream without digests of files), s3 (Stream from S3), read (reading the objects only), oras or crane; can be repeated", func(key string) error {
		s.only = append(s.only, key)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	s.size = *mebibytes << 20
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove the work directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(s.dir) }()
	server, store, builders, err := prepare(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = store.gateway.Stop() }()
	if len(s.only) > 0 {
		builders = slices.DeleteFunc(builders, func(m builder) bool { return m.key != keyStream && !slices.Contains(s.only, m.key) })
	}
	var all []measurement
	for number := range s.runs {
		fmt.Printf("run %d of %d\n", number+1, s.runs)
		measured, err := s.measure(ctx, server, builders, number)
		if err != nil {
			return err
		}
		all = append(all, measured...)
	}
	return report(s, builders, all)
}

// measure measures each builder once, with a new registry.
func (s settings) measure(ctx context.Context, server *registry, builders []builder, number int) (all []measurement, err error) {
	for _, m := range builders {
		if err := server.start(ctx); err != nil {
			return nil, err
		}
		measured, err := s.measureBuilder(ctx, server, m, number)
		if err := errors.Join(err, server.stop()); err != nil {
			return nil, err
		}
		all = append(all, measured...)
	}
	return all, nil
}

// measureBuilder measures one builder in all scenarios: the first image of a
// model, an image after one file has changed, and an image without changes.
func (s settings) measureBuilder(ctx context.Context, server *registry, m builder, number int) (all []measurement, err error) {
	model := filepath.Join(s.dir, "model")
	if err := writeModel(model, s.files, s.size, int64(number)); err != nil {
		return nil, err
	}
	previous := ""
	for _, scenario := range scenarios {
		if scenario == oneChanged {
			if err := writeWeights(model, 0, s.size/int64(s.files), int64(number)+1_000); err != nil {
				return nil, err
			}
		}
		image := server.host + "/bench/model:" + string(scenario)
		commands, err := m.commands(image, previous)
		if err != nil {
			return nil, err
		}
		measured, err := meter(ctx, server.host, commands)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", m.name, scenario, err)
		}
		measured.builder, measured.scenario = m.key, scenario
		fmt.Printf("  %-28s %-12s %6.1f s  %5d MiB\n", m.name, scenario, measured.wall.Seconds(), measured.memory>>20)
		all = append(all, measured)
		if m.reads {
			continue
		}
		if previous, err = byDigest(ctx, image); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", m.name, scenario, err)
		}
	}
	return all, nil
}

// byDigest returns the reference by digest of the image at a tag.
func byDigest(ctx context.Context, image string) (string, error) {
	tag, err := name.NewTag(image, name.Insecure)
	if err != nil {
		return "", err
	}
	descriptor, err := remote.Head(tag, remote.WithContext(ctx))
	if err != nil {
		return "", err
	}
	return tag.Digest(descriptor.Digest.String()).Name(), nil
}
