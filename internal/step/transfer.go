package step

import (
	"io"
	"sync"
	"time"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// linesEvery is how often the log says how far a transfer is.
const linesEvery = 10 * time.Second

// transfer tells people and Argo how far a transfer of several layers is. It
// counts bytes of archives, which are a little longer than the files in them.
type transfer struct {
	mu sync.Mutex
	// layers is how far each layer is, in bytes.
	layers   []int64
	progress progress
	out      io.Writer
	began    time.Time
	said     time.Time
}

func newTransfer(file string, plan layer.Plan, out io.Writer) *transfer {
	now := time.Now()
	return &transfer{layers: make([]int64, len(plan.Layers)), progress: progress{file: file, total: plan.Bytes}, out: out, began: now, said: now}
}

// at says how far a layer is.
func (t *transfer) at(number int, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress.done += bytes - t.layers[number]
	t.layers[number] = bytes
	now := time.Now()
	if now.Sub(t.progress.written) >= progressEvery {
		t.progress.written = now
		t.progress.tell()
	}
	if now.Sub(t.said) >= linesEvery {
		t.said = now
		t.say(now)
	}
}

// say prints how far the transfer is.
func (t *transfer) say(now time.Time) {
	done, total := min(t.progress.done, t.progress.total), t.progress.total
	if done == 0 {
		return
	}
	perSecond := float64(done) / now.Sub(t.began).Seconds()
	left := time.Duration(float64(total-done) / perSecond * float64(time.Second))
	say(t.out, "%s of %s, %s/s, about %s left", size(done), size(total), size(int64(perSecond)), left.Round(time.Second))
}

// end says that all of it is there.
func (t *transfer) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress.done = t.progress.total
	t.progress.tell()
}
