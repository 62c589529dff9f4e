package cluster

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// lockPath is one file for the machine: there is one cluster on it, and one run at a time that changes it.
const lockPath = "/run/modelkiln-cluster.lock"

// lock keeps other runs away. However the process ends, the kernel lets go of it.
type lock struct{ file *os.File }

// acquireLock takes the lock at path in the name of a checkout, or says who has it.
func acquireLock(path, checkout string) (*lock, error) {
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, fmt.Errorf("cannot open the lock %s: %w", path, err)
		}
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			holder, _ := os.ReadFile(path)
			_ = file.Close()
			return nil, fmt.Errorf("another run brings the cluster up or down (%s); wait until it has ended", strings.TrimSpace(string(holder)))
		}
		if !isAt(file, path) {
			// A run that ended removed the file after it was opened here; whoever comes next would not see this lock.
			_ = file.Close()
			continue
		}
		// Whoever is turned away reads here whom to wait for.
		if err := file.Truncate(0); err == nil {
			_, _ = fmt.Fprintf(file, "process %d, of %s\n", os.Getpid(), checkout)
		}
		return &lock{file: file}, nil
	}
}

// isAt tells whether an open file is still the one at path.
func isAt(file *os.File, path string) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(opened, there)
}

// release lets others have the lock.
func (l *lock) release() { _ = l.file.Close() }

// remove lets others have the lock and leaves no file behind.
func (l *lock) remove() {
	// Removed while it is held, it cannot be the lock of another run.
	_ = os.Remove(l.file.Name())
	l.release()
}
