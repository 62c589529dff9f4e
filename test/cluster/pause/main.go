// Command pause is the first process of every pod: it holds the pod's namespaces open and waits to be told to end.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// Ignored children are reaped by the kernel, which is what a pod that shares its process namespace needs of its first process.
	signal.Ignore(syscall.SIGCHLD)

	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
}
