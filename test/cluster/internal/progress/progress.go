// Package progress tells the person at the terminal what the cluster is doing, with the seconds since it began.
package progress

import (
	"fmt"
	"io"
	"time"
)

// Reporter writes one line for each step.
type Reporter struct {
	out   io.Writer
	began time.Time
}

// New starts the clock of a reporter that writes to out.
func New(out io.Writer) *Reporter {
	return &Reporter{out: out, began: time.Now()}
}

// Say writes one line.
func (r *Reporter) Say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, "[%4.0fs] %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// During runs work and says every half minute that it still goes on, so that a long compile does not look like a hang.
func (r *Reporter) During(what string, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()

	began := time.Now()
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			r.Say("still %s (%s so far)", what, time.Since(began).Round(time.Second))
		}
	}
}
