// Command cluster runs a real Kubernetes cluster of one node on this machine, without a container engine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
	"github.com/modelkiln/modelkiln/test/cluster/internal/cluster"
	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
	"github.com/modelkiln/modelkiln/test/cluster/internal/progress"
)

const usage = `usage: cluster COMMAND

  up      bring the cluster up, or up to date when it runs
  down    end the cluster and remove everything of it but its logs
  build   compile the programs of the cluster, and start nothing
  assets  compile the API server, etcd and kubectl, and print the folder that holds them (for KUBEBUILDER_ASSETS)
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("a command is missing\n%s", usage)
	}
	// The node's processes start as this program, under names that are not for people.
	switch args[0] {
	case node.HoldCommand:
		return node.Hold()
	case node.SetupCommand:
		return node.SetUp()
	case node.EnterCommand:
		return node.Enter(args[1:])
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	here, err := checkout.Find(".")
	if err != nil {
		return err
	}
	c := cluster.New(here, progress.New(os.Stderr))
	switch args[0] {
	case "up":
		return c.Up(ctx)
	case "down":
		return c.Down(ctx)
	case "build":
		return c.Build(ctx)
	case "assets":
		folder, err := c.Assets(ctx)
		if err != nil {
			return err
		}
		fmt.Println(folder)
		return nil
	default:
		return fmt.Errorf("%q is not a command\n%s", args[0], usage)
	}
}
