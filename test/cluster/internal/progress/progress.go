// Package progress prints progress messages with the seconds since the start of the program.
package progress

import (
	"fmt"
	"io"
	"time"
)

// Reporter prints progress messages.
type Reporter struct {
	out   io.Writer
	start time.Time
}

// New returns a Reporter that writes to out. The seconds count from now.
func New(out io.Writer) *Reporter {
	return &Reporter{out: out, start: time.Now()}
}

// Logf prints a message on a line.
func (r *Reporter) Logf(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, "[%4.0fs] %s\n", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

// During runs work and prints every 30 seconds that it is still running, so that a long compilation does not look like a
// hang.
func (r *Reporter) During(what string, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()

	start := time.Now()
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			r.Logf("still %s (%s so far)", what, time.Since(start).Round(time.Second))
		}
	}
}
