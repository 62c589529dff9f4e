package cluster

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// lockPath is one file for the machine: there is one cluster on it, and one run at a time that changes it.
const lockPath = "/run/modelkiln-cluster.lock"

// lock keeps other runs away until it is let go of, by the kernel if need be.
func lock(checkout string) (unlock func(), err error) {
	file, err := os.OpenFile(lockPath, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock %s: %w", lockPath, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(lockPath)
		file.Close()
		return nil, fmt.Errorf("another run brings the cluster up or down (%s); wait until it has ended", strings.TrimSpace(string(holder)))
	}
	// Whoever is turned away reads here whom to wait for.
	if err := file.Truncate(0); err == nil {
		fmt.Fprintf(file, "process %d, of %s\n", os.Getpid(), checkout)
	}
	return func() { file.Close() }, nil
}
