// Command pause is the first process of every pod: it keeps the pod's namespaces alive until it receives a signal.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// In a pod with a shared process namespace, the first process must reap orphaned children. The kernel does it if SIGCHLD
	// is ignored.
	signal.Ignore(syscall.SIGCHLD)

	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM, syscall.SIGINT)
	<-terminated
}
