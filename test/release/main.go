// Command release makes what a release of Modelkiln consists of, from this checkout.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/modelkiln/modelkiln/test/release/chart"
	"github.com/modelkiln/modelkiln/test/release/dist"
)

const usage = `usage: release COMMAND [--flag=value...]

  chart    generate deploy/chart: make generate
  prepare  write a version to the manifests: make prepare-release
  dist     push the images and the chart, and write the files of a release: make release
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(strings.TrimSpace(usage))
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	o := dist.Options{Progress: os.Stderr}
	flags.StringVar(&o.Root, "root", "../..", "the root of the checkout")
	flags.StringVar(&o.Output, "output", "../../dist", "the directory that dist replaces")
	flags.StringVar(&o.Version, "version", "", "the version, for example v0.2.0")
	flags.StringVar(&o.Repository, "repository", "", "where the images and the chart are pushed, for example registry.example.com/modelkiln")
	flags.StringVar(&o.Kaniko, "kaniko", "", "Kaniko's image, in a registry that can be reached; the one in the manifests if empty")
	flags.StringVar(&o.PluginPlatforms, "plugin-platforms", "", "the platforms of kubectl kiln, for example linux/amd64,darwin/arm64; all if empty")
	flags.BoolVar(&o.PlainHTTP, "plain-http", false, "access the registries without TLS")
	flags.BoolVar(&o.AllowChanges, "allow-changes", false, "make a release of a checkout with changes that are not committed")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "chart":
		return chart.Generate(o.Root)
	case "prepare":
		return dist.Prepare(o.Root, o.Version)
	case "dist":
		return dist.Make(ctx, o)
	}
	return fmt.Errorf("unknown command %q\n%s", args[0], usage)
}
