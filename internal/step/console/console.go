// Package console writes the log of a step, which users read in the Argo UI, and
// its progress.
package console

import (
	"fmt"
	"io"
	"sync"

	"github.com/modelkiln/modelkiln/internal/text"
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

// Logf writes one line, whatever the arguments contain: a name with a line break must not
// look like two lines, nor control the terminal of who reads the log. A log that cannot be
// written does not fail the step.
func Logf(log io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintln(log, text.Printable(fmt.Sprintf(format, args...)))
}
