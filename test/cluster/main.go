// Command cluster runs a Kubernetes cluster of one node on this machine, without a container engine.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
	"github.com/modelkiln/modelkiln/test/cluster/internal/cluster"
	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
	"github.com/modelkiln/modelkiln/test/cluster/internal/progress"
)

const usage = `usage: cluster COMMAND

  up [--training]     start the cluster, or update it if it is running; --training adds the controllers of
                      PyTorchJob, TFJob, JobSet and TrainJob
  down                stop the cluster and remove everything except its logs
  enter [PROGRAM...]  run a program, by default a shell, in the network and mount namespaces of the node
  build               compile the programs of the cluster without starting it
  assets [--oldest]   compile the API server, etcd and kubectl, and print the directory that contains them,
                      for KUBEBUILDER_ASSETS; --oldest takes the oldest API server that Modelkiln supports
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no command given\n%s", usage)
	}
	// This program also starts the node's processes, with hidden commands.
	switch args[0] {
	case node.HoldCommand:
		return node.Hold()
	case node.SetupCommand:
		return node.SetUp()
	case node.EnterCommand:
		return node.Enter(args[1:])
	}

	co, err := checkout.Find(".")
	if err != nil {
		return err
	}
	commands := map[string]func(context.Context, *cluster.Cluster, []string) error{
		"up":     up,
		"down":   func(_ context.Context, c *cluster.Cluster, _ []string) error { return c.Down() },
		"build":  func(ctx context.Context, c *cluster.Cluster, _ []string) error { return c.Build(ctx) },
		"enter":  func(_ context.Context, c *cluster.Cluster, args []string) error { return c.Enter(args) },
		"assets": assets,
	}
	command, known := commands[args[0]]
	if !known {
		return fmt.Errorf("unknown command %q\n%s", args[0], usage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return command(ctx, cluster.New(co, progress.New(os.Stderr)), args[1:])
}

func up(ctx context.Context, c *cluster.Cluster, args []string) error {
	training, err := parseFlag("up", "training", args)
	if err != nil {
		return err
	}
	return c.Up(ctx, training)
}

func assets(ctx context.Context, c *cluster.Cluster, args []string) error {
	oldest, err := parseFlag("assets", "oldest", args)
	if err != nil {
		return err
	}
	dir, err := c.Assets(ctx, oldest)
	if err != nil {
		return err
	}
	fmt.Println(dir)
	return nil
}

// parseFlag reports whether the arguments of a command contain its only flag.
func parseFlag(command, name string, args []string) (bool, error) {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	value := flags.Bool(name, false, "")
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		return false, fmt.Errorf("%w\n%s", err, usage)
	}
	if flags.NArg() != 0 {
		return false, fmt.Errorf("unexpected argument %q of %s\n%s", flags.Arg(0), command, usage)
	}
	return *value, nil
}
