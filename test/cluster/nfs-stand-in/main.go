// Command nfs-stand-in is the node's mount helper /sbin/mount.nfs. It is not an NFS client: it bind-mounts a directory of
// this machine for each server and path.
package main

import (
	"fmt"
	"os"

	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
	"github.com/modelkiln/modelkiln/test/cluster/internal/shares"
)

// mountFailed is the exit code of mount(8) for a failed mount.
const mountFailed = 32

func main() {
	if err := shares.MountNFS(os.Args[1:], node.NFSDir, shares.BindMount); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(mountFailed)
	}
}
