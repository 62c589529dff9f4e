// Package console writes the log of a step, which users read in the Argo UI, and
// its progress.
package console

import (
	"fmt"
	"io"
	"sync"
)

// Log is the log of a step. Several goroutines may write lines at the same time.
type Log struct {
	mu  sync.Mutex
	out io.Writer
}

// NewLog returns a Log that writes to out.
func NewLog(out io.Writer) *Log { return &Log{out: out} }

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

// Logf writes one line. A log that cannot be written does not fail the step.
func Logf(log io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(log, format+"\n", args...)
}
