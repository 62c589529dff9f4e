package stream

import (
	"sync"

	"github.com/modelkiln/modelkiln/internal/step/console"
)

// transfer adds up the progress of layers that are sent at the same time. It
// counts bytes of archives, which are slightly longer than the files in them.
type transfer struct {
	mu sync.Mutex
	// bytes is how much of each layer was sent.
	bytes    []int64
	progress *console.Progress
}

func newTransfer(layers int, progress *console.Progress) *transfer {
	return &transfer{bytes: make([]int64, layers), progress: progress}
}

// set sets how many bytes of a layer were sent. An upload that is resumed may
// have lost some.
func (t *transfer) set(number int, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress.Add(bytes - t.bytes[number])
	t.bytes[number] = bytes
}

// complete marks all layers as sent.
func (t *transfer) complete() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress.Complete()
}
