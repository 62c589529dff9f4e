package step

import (
	"fmt"
	"os"
	"time"
)

// progressEvery is how often progress is written. Argo reads it every three
// seconds.
const progressEvery = time.Second

// progressVariable is how Argo says to a container where to leave progress.
const progressVariable = "ARGO_PROGRESS_FILE"

// progress tells Argo how much of a build is done, as lines of the form N/M in
// a file that it names; without a file it tells nobody. It counts the bytes of
// the model that were copied into the image.
type progress struct {
	file        string
	done, total int64
	written     time.Time
}

// Write counts what was copied.
func (p *progress) Write(copied []byte) (int, error) {
	p.done += int64(len(copied))
	if now := time.Now(); now.Sub(p.written) >= progressEvery {
		p.written = now
		p.tell()
	}
	return len(copied), nil
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
