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

func TestAFileThatIsStillBeingWrittenIsNotPackaged(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	stop := dir.grow(t, "checkpoint.bin")

	mv, took := live.failed(t, makeVersion("early", ns, dir).New())

	assertRefusal(t, mv, v1alpha1.ReasonSourceChanging, `"checkpoint.bin" changed while it was packaged`)
	logSeen(t, mv, took)
	stop()
	typeCommand(t, mv.Status.Message)
	holds(t, live.readyAgain(t, mv), dir)
}

// grow appends to a file, as training does, until it is told to stop.
func (f folder) grow(t *testing.T, name string) (stop func()) {
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

func TestASubPathThatIsAFileSaysSo(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	disk := newFolder(t)
	disk.write(t, "runs/7", "weights")
	live.claimOf(t, ns, "training-output", disk)
	version := makeVersion("file", ns, "").Claim("training-output", "runs/7").New()
	version.Spec.Storage.LocalStorage = nil

	mv, took := live.failed(t, version)

	assertRefusal(t, mv, v1alpha1.ReasonSourceNotDirectory, "the sub-path runs/7 of the claim is not a directory")
	logSeen(t, mv, took)
	mend(t, disk.at("runs/7"))
	typeCommand(t, mv.Status.Message)
	holds(t, live.readyAgain(t, mv), folder(disk.at("runs/7")))
}

// A platform team that takes root's override of file modes away from builds has
// what an NFS server with root_squash gives.
func TestAFileThatTheBuildMayNotReadIsNamed(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	template := copyOfTemplate(t, ns)
	containerOf(t, template, "mount-check").SecurityContext.Capabilities.Add = nil
	live.create(t, template)
	live.deleteAfter(t, template)
	dir := model(t)
	dir.write(t, "private/weights.bin", "weights")
	require.NoError(t, os.Chown(dir.at("private/weights.bin"), 1000, 1000))
	require.NoError(t, os.Chmod(dir.at("private/weights.bin"), 0o600))

	mv, took := live.failed(t, makeVersion("private", ns, dir).WorkflowTemplate(ns).New())

	assertRefusal(t, mv, v1alpha1.ReasonSourceUnreadable, `the build cannot read "private/weights.bin": permission denied`)
	logSeen(t, mv, took)
	require.NoError(t, os.Chmod(dir.at("private/weights.bin"), 0o644))
	typeCommand(t, mv.Status.Message)
	holds(t, live.readyAgain(t, mv), dir)
}
