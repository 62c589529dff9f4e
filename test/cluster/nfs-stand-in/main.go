// Command nfs-stand-in is put where the node's mount(8) finds it as /sbin/mount.nfs. It is no NFS client: it bind-mounts a
// folder of this machine for each server and path.
package main

import (
	"fmt"
	"os"

	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
	"github.com/modelkiln/modelkiln/test/cluster/internal/shares"
)

// mountFailed is mount(8)'s exit code for it.
const mountFailed = 32

func main() {
	if err := shares.MountNFS(os.Args[1:], node.NFSFolder, shares.BindMount); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(mountFailed)
	}
}
