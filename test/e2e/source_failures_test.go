//go:build e2e

package e2e

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestSourceChanging(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	stop := dir.grow(t, "checkpoint.bin")

	mv, took := live.failed(t, makeVersion("early", ns, dir).New())

	assertFailed(t, mv, v1alpha1.ReasonSourceChanging, `"checkpoint.bin"`)
	logNoticed(t, mv, took)
	stop()
	runCommand(t, mv.Status.Message)
	assertImage(t, live.readyAgain(t, mv), dir)
}

// grow appends to a file, as training does, until it is stopped.
func (f directory) grow(t *testing.T, name string) (stop func()) {
	t.Helper()
	file, err := os.Create(f.at(name))
	require.NoError(t, err)
	var writer sync.WaitGroup
	enough := make(chan struct{})
	writer.Go(func() {
		next := time.NewTicker(time.Millisecond)
		defer next.Stop()
		for {
			_, err = file.WriteString("more ")
			select {
			case <-enough:
				err = errors.Join(err, file.Close())
				return
			case <-next.C:
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(enough)
		writer.Wait()
		assert.NoError(t, err)
	})
	t.Cleanup(stop)
	return stop
}
