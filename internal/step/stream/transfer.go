package step

import "sync"

// transfer counts how far several layers are that are sent at the same time. It
// counts bytes of archives, which are a little longer than the files in them.
type transfer struct {
	mu sync.Mutex
	// layers is how far each layer is, in bytes.
	layers   []int64
	progress *progress
}

func newTransfer(layers int, progress *progress) *transfer {
	return &transfer{layers: make([]int64, layers), progress: progress}
}

// at says how far a layer is.
func (t *transfer) at(number int, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress.add(bytes - t.layers[number])
	t.layers[number] = bytes
}

// end says that all of it is there.
func (t *transfer) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress.done = t.progress.total
	t.progress.tell()
}
