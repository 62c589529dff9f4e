package console

import (
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// fileInterval is how often the progress file is written. Argo reads it
	// every three seconds.
	fileInterval = time.Second
	// logInterval is how often progress is logged.
	logInterval = 10 * time.Second
)

// ProgressFileVariable is the environment variable in which Argo names the file
// that a container writes its progress to.
const ProgressFileVariable = "ARGO_PROGRESS_FILE"

// Progress reports how much of a build is done, in bytes of the model: to Argo,
// as N/M in a file, and to users, in the log. It is for one goroutine at a time.
type Progress struct {
	file        string
	log         io.Writer
	done, total int64
	start       time.Time
	// lastWrite and lastLog are when the file and the log were last written.
	lastWrite, lastLog time.Time
}

// NewProgress returns a Progress that starts now. Without a file, it is only
// logged.
func NewProgress(file string, total int64, log io.Writer) *Progress {
	now := time.Now()
	return &Progress{file: file, log: log, total: total, start: now, lastLog: now}
}

// Add adds bytes to what is done. The number is negative if an upload lost some.
func (p *Progress) Add(bytes int64) {
	p.done += bytes
	now := time.Now()
	if now.Sub(p.lastWrite) >= fileInterval {
		p.lastWrite = now
		p.Flush()
	}
	if now.Sub(p.lastLog) >= logInterval {
		p.lastLog = now
		p.logAt(now)
	}
}

// Write adds the length of what was copied.
func (p *Progress) Write(copied []byte) (int, error) {
	p.Add(int64(len(copied)))
	return len(copied), nil
}

// Complete marks everything as done.
func (p *Progress) Complete() {
	p.done = p.total
	p.Flush()
}

// Done returns the number of bytes that are done.
func (p *Progress) Done() int64 { return p.done }

// Flush writes the progress file. A file that cannot be written does not fail
// the build.
func (p *Progress) Flush() {
	if p.file == "" || p.total == 0 || p.done > p.total {
		return
	}
	_ = os.WriteFile(p.file, fmt.Appendf(nil, "%d/%d\n", p.done, p.total), 0o644)
}

func (p *Progress) logAt(now time.Time) {
	done := min(p.done, p.total)
	if done == 0 {
		return
	}
	perSecond := float64(done) / now.Sub(p.start).Seconds()
	left := time.Duration(float64(p.total-done) / perSecond * float64(time.Second))
	Logf(p.log, "%s of %s, %s/s, about %s left", Size(done), Size(p.total), Size(int64(perSecond)), left.Round(time.Second))
}
