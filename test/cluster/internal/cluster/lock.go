package cluster

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// lockPath is the same for all checkouts: a machine has one cluster, and only one process may change it at a time.
const lockPath = "/run/modelkiln-cluster.lock"

// lock is a file lock. The kernel releases it when the process exits.
type lock struct{ file *os.File }

// acquireLock acquires the lock at path for a checkout. If another process holds it, the error names that process.
func acquireLock(path, checkout string) (*lock, error) {
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, fmt.Errorf("cannot open the lock %s: %w", path, err)
		}
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			holder, _ := os.ReadFile(path)
			_ = file.Close()
			return nil, fmt.Errorf("the cluster is being started or stopped by another run (%s); wait until that run has finished", strings.TrimSpace(string(holder)))
		}
		if !isSameFile(file, path) {
			// Another run removed the file after this one had opened it. A lock on it would not exclude other runs.
			_ = file.Close()
			continue
		}
		// Other runs read this for their error message.
		if err := file.Truncate(0); err == nil {
			_, _ = fmt.Fprintf(file, "process %d, of %s\n", os.Getpid(), checkout)
		}
		return &lock{file: file}, nil
	}
}

// isSameFile reports whether an open file is still the file at path.
func isSameFile(file *os.File, path string) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(opened, there)
}

// release releases the lock.
func (l *lock) release() { _ = l.file.Close() }

// remove deletes the lock's file and releases the lock.
func (l *lock) remove() {
	// The file is removed while the lock is held, so it cannot be the lock of another run.
	_ = os.Remove(l.file.Name())
	l.release()
}
