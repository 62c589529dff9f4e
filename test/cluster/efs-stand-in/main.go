// Command efs-stand-in is a CSI driver that registers with kubelet as efs.csi.aws.com. It does not use AWS: it bind-mounts
// a directory of this machine for each file system.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
	"github.com/modelkiln/modelkiln/test/cluster/internal/shares"
)

// Sockets of the driver: kubelet discovers the first and calls the second.
const (
	registrationSocket = "/var/lib/kubelet/plugins_registry/" + shares.EFSDriverName + "-reg.sock"
	endpoint           = "/var/lib/kubelet/plugins/" + shares.EFSDriverName + "/csi.sock"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "efs-stand-in:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return shares.NewEFSDriver(node.EFSDir, node.Name, endpoint).Serve(ctx, registrationSocket)
}
