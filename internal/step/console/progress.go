package step

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progressEvery is how often progress is written. Argo reads it every three
// seconds.
const progressEvery = time.Second

// progressVariable is how Argo says to a container where to leave progress.
const progressVariable = "ARGO_PROGRESS_FILE"

// linesEvery is how often the log says how far a build is.
const linesEvery = 10 * time.Second

// progress tells how much of a build is done: Argo, as lines of the form N/M in a
// file that it names, and people, in the log. It counts bytes of the model.
type progress struct {
	file        string
	out         io.Writer
	done, total int64
	began       time.Time
	// written and said are when Argo and people were told last.
	written, said time.Time
}

// newProgress is the progress of something that begins now. Without a file, Argo
// is not told.
func newProgress(file string, total int64, out io.Writer) *progress {
	now := time.Now()
	return &progress{file: file, out: out, total: total, began: now, said: now}
}

// add counts what was done, or, where it was lost, is not done any more.
func (p *progress) add(bytes int64) {
	p.done += bytes
	now := time.Now()
	if now.Sub(p.written) >= progressEvery {
		p.written = now
		p.tell()
	}
	if now.Sub(p.said) >= linesEvery {
		p.said = now
		p.say(now)
	}
}

// Write counts what was copied.
func (p *progress) Write(copied []byte) (int, error) {
	p.add(int64(len(copied)))
	return len(copied), nil
}

// say prints how far it is.
func (p *progress) say(now time.Time) {
	done := min(p.done, p.total)
	if done == 0 {
		return
	}
	perSecond := float64(done) / now.Sub(p.began).Seconds()
	left := time.Duration(float64(p.total-done) / perSecond * float64(time.Second))
	say(p.out, "%s of %s, %s/s, about %s left", size(done), size(p.total), size(int64(perSecond)), left.Round(time.Second))
}

// tell writes what was counted. That nobody sees how far a build is does not
// end it.
func (p *progress) tell() {
	if p.file == "" || p.total == 0 || p.done > p.total {
		return
	}
	_ = os.WriteFile(p.file, fmt.Appendf(nil, "%d/%d\n", p.done, p.total), 0o644)
}

// copied is what was told last, in bytes; 0 if nothing was.
func copied(file string) int64 {
	var done int64
	told, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscanf(string(told), "%d/", &done); err != nil {
		return 0
	}
	return done
}
