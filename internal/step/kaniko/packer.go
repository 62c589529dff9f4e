package step

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/kaniko"
)

// packer puts a model into the image that Kaniko makes, one layer whenever
// Kaniko runs the command for it. While Kaniko is busy with a layer, which takes
// one core, the packer copies the next one and reads back the one before.
type packer struct {
	out          io.Writer
	shared       string
	kanikoFolder string
	work         job
	// source is the model's folder, and image the root of the image.
	source, image *os.Root

	listener net.Listener
	cancel   context.CancelFunc
	ended    chan struct{}

	// What follows belongs to the goroutine that serves, and to meanwhile.

	// meanwhile is the work that is done while Kaniko does its own.
	meanwhile *errgroup.Group
	// placed is how many layers are in the image.
	placed int
	// done says that the list of the model's files is there too.
	done bool
	// failure is why a command could not be done.
	failure  error
	progress *progress
	// digests holds the SHA-256 of the files that were copied, by path.
	digests map[string]string
	// seen are the archives that were read back, or are being.
	seen []string
	// built is what was read back of Kaniko's layers.
	built []report.BuiltLayer
}

// startPacker begins to copy, and to serve the commands that Kaniko will run.
func (b *build) startPacker(ctx context.Context, out io.Writer, work job) (*packer, error) {
	image, err := os.OpenRoot(b.imageRoot)
	if err != nil {
		return nil, fmt.Errorf("open the image: %w", err)
	}
	from, err := work.Storage.Open()
	if err != nil {
		return nil, errors.Join(err, image.Close())
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", filepath.Join(b.shared, packSocket))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the commands that Kaniko runs: %w", err), from.Close(), image.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &packer{
		out: out, shared: b.shared, kanikoFolder: b.kanikoFolder, work: work, source: from, image: image,
		listener: listener, cancel: cancel, ended: make(chan struct{}),
		progress: newProgress(b.progressFile, work.Plan.Bytes, out), digests: map[string]string{},
	}
	p.proceed(ctx, nil)
	go func() {
		defer close(p.ended)
		p.serve(ctx)
	}()
	return p, nil
}

// stop ends the packer when Kaniko has ended, and returns why it could not do
// what Kaniko asked for.
func (p *packer) stop() error {
	p.cancel()
	err := p.listener.Close()
	<-p.ended
	_ = p.meanwhile.Wait() // It was stopped, or has failed after the last command.
	return errors.Join(p.failure, err, p.source.Close(), p.image.Close())
}

// serve does one command after the other: Kaniko runs one at a time.
func (p *packer) serve(ctx context.Context) {
	for {
		connection, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.answer(ctx, connection)
	}
}

func (p *packer) answer(ctx context.Context, connection net.Conn) {
	defer func() { _ = connection.Close() }()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	request, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return
	}
	err = p.do(ctx, strings.TrimSuffix(request, "\n"))
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = failure.New(v1alpha1.ReasonBuildFailed, "the build ran out of disk space, of which it needs twice the model's size: give it more ephemeral storage").Because(err)
	}
	if err != nil {
		p.failure = err
		return
	}
	_, _ = io.WriteString(connection, packed)
}

// do does what a command of Kaniko's is for.
func (p *packer) do(ctx context.Context, request string) error {
	next := manifestRequest
	if p.placed < len(p.work.Plan.Layers) {
		next = strconv.Itoa(p.placed)
	}
	if request != next || p.done {
		return fmt.Errorf("the command for %q was run, where %q is next", request, next)
	}
	if err := p.meanwhile.Wait(); err != nil {
		return err
	}
	// Kaniko runs a command when it has written the layer before.
	archives, err := p.newArchives()
	if err != nil {
		return err
	}
	if request == manifestRequest {
		return p.finish(ctx, archives)
	}
	if err := placeLayer(p.source, p.image, p.work.Plan, p.placed); err != nil {
		return err
	}
	p.placed++
	p.proceed(ctx, archives)
	return nil
}

// proceed copies the layer that is next, and reads back the one before the last
// that was placed, whose archives these are.
func (p *packer) proceed(ctx context.Context, archives []string) {
	p.meanwhile, ctx = errgroup.WithContext(ctx)
	if next := p.placed; next < len(p.work.Plan.Layers) {
		p.meanwhile.Go(func() error { return p.stage(ctx, next) })
	}
	if written := p.placed - 2; written >= 0 {
		p.meanwhile.Go(func() error { return p.readBack(ctx, written, archives) })
	}
}

func (p *packer) stage(ctx context.Context, number int) error {
	entries := p.work.Plan.Layers[number]
	s := staging{from: p.source, image: p.image, layer: number, digests: p.digests, progress: p.progress}
	if err := s.copy(ctx, entries); err != nil {
		return err
	}
	p.progress.tell()
	say(p.out, "layer %d: copied %d files, %s", number, filesOf(entries), size(bytesOf(entries)))
	return nil
}

// newArchives returns the archives that Kaniko has written since it was asked
// last. Whichever Kaniko it is, they stay until it pushes.
func (p *packer) newArchives() ([]string, error) {
	archives, err := kaniko.FindArchives(p.kanikoFolder)
	if err != nil {
		return nil, err
	}
	archives = slices.DeleteFunc(archives, func(archive string) bool { return slices.Contains(p.seen, archive) })
	p.seen = append(p.seen, archives...)
	return archives, nil
}

// readBack checks what Kaniko has written for a layer of the plan against the
// plan.
func (p *packer) readBack(ctx context.Context, number int, archives []string) error {
	layers, err := kaniko.ReadLayers(ctx, archives, p.work.Plan.Layers[number])
	if err != nil {
		return err
	}
	p.built = append(p.built, layers...)
	say(p.out, "layer %d: Kaniko has written all of it", number)
	return nil
}

// finish checks the last layer and the source, and writes the list of the
// model's files into the image.
func (p *packer) finish(ctx context.Context, archives []string) error {
	plan := p.work.Plan
	if err := p.readBack(ctx, len(plan.Layers)-1, archives); err != nil {
		return err
	}
	if err := checkUnchanged(ctx, p.work); err != nil {
		return err
	}
	manifest := layer.ManifestOf(plan, p.digests)
	manifest.Layers = p.built
	digest, err := writeManifest(p.image, manifest, plan)
	if err != nil {
		return err
	}
	if err := linkForKServe(p.image, plan, p.out); err != nil {
		return err
	}
	p.done = true
	return writeExpected(p.shared, expected{ManifestSHA256: digest, Layers: p.built})
}
