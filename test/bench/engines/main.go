// Command engines measures what it costs to make an image of a model, by
// Modelkiln's two engines and by others, one after the other against a registry
// on the same machine: `make bench`. Figures are for comparing within one run.
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
)

// settings are what is measured, and where.
type settings struct {
	// size is that of the whole model, in bytes, in so many files.
	size  int64
	files int
	runs  int
	// dir is where the model is made, and what its makers need.
	dir string
	// results is the folder that the table and the picture are written to.
	results string
	// only names the makers to measure beside Stream, which the others are
	// compared to, by their keys; empty is all.
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
	var s settings
	flags := flag.NewFlagSet("engines", flag.ContinueOnError)
	mebibytes := flags.Int64("size", 2048, "the model's size in `MiB`")
	flags.IntVar(&s.files, "files", 8, "how many `files` the model has")
	flags.IntVar(&s.runs, "runs", 5, "how often everything is measured")
	flags.StringVar(&s.dir, "dir", "/var/tmp/modelkiln-bench", "a `folder` with room for the model and five times as much")
	flags.StringVar(&s.results, "results", "test/bench", "the `folder` that the table and the picture go to")
	flags.Func("only", "measure this `maker` only, and Stream: kubedl, cache, kaniko, stream, times, oras or crane; may be repeated", func(key string) error {
		s.only = append(s.only, key)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	s.size = *mebibytes << 20
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("clear the folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(s.dir) }()
	server, makers, err := prepare(ctx, s)
	if err != nil {
		return err
	}
	if len(s.only) > 0 {
		makers = slices.DeleteFunc(makers, func(m maker) bool { return m.key != keyStream && !slices.Contains(s.only, m.key) })
	}
	var all []measurement
	for number := range s.runs {
		fmt.Printf("run %d of %d\n", number+1, s.runs)
		measured, err := s.measure(ctx, server, makers, number)
		if err != nil {
			return err
		}
		all = append(all, measured...)
	}
	return report(s, makers, all)
}

// measure measures each maker once.
func (s settings) measure(ctx context.Context, server *registry, makers []maker, number int) (all []measurement, err error) {
	for _, m := range makers {
		if err := server.start(ctx); err != nil {
			return nil, err
		}
		measured, err := s.measureOne(ctx, server, m, number)
		if err := errors.Join(err, server.stop()); err != nil {
			return nil, err
		}
		all = append(all, measured...)
	}
	return all, nil
}

// measureOne measures a first image, one of a model with one other file, and that
// model once more.
func (s settings) measureOne(ctx context.Context, server *registry, m maker, number int) (all []measurement, err error) {
	model := filepath.Join(s.dir, "model")
	if err := weights(model, s.files, s.size, int64(number)); err != nil {
		return nil, err
	}
	previous := ""
	for _, when := range occasions {
		if when == oneChanged {
			if err := weightsFile(model, 0, s.size/int64(s.files), int64(number)+1_000); err != nil {
				return nil, err
			}
		}
		image := server.host + "/bench/model:" + string(when)
		commands, err := m.commands(image, previous)
		if err != nil {
			return nil, err
		}
		measured, err := meter(ctx, server.host, commands)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", m.name, when, err)
		}
		measured.maker, measured.when = m.key, when
		fmt.Printf("  %-28s %-12s %6.1f s  %5d MiB\n", m.name, when, measured.wall.Seconds(), measured.memory>>20)
		all, previous = append(all, measured), image
	}
	return all, nil
}
