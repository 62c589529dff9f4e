package kaniko

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// packer puts a model into the image that Kaniko builds: one layer for each
// command that Kaniko runs. While Kaniko archives a layer, which takes one core,
// the packer copies the next one and reads back the one before.
type packer struct {
	Input
	// files are the model's files, and image is the root of the image.
	files source.Files
	image *os.Root

	listener net.Listener
	cancel   context.CancelFunc
	stopped  chan struct{}

	// The fields below belong to the goroutine that serves, and to background.

	// background is the work that is done while Kaniko does its own.
	background *errgroup.Group
	// placed is the number of layers that are in the image.
	placed int
	// finished is true once all layers were read back.
	finished bool
	// err is why a command failed.
	err error
	// digests are the SHA-256 of the files that were copied, by layer and path. A layer
	// is copied while another one is read back.
	digests []map[string]string
	// seen are the archives of Kaniko that were assigned to a layer.
	seen []string
	// archives are the layers of Kaniko that were read back.
	archives []layerArchive
}

// startPacker starts copying, and serving the commands that Kaniko runs.
func startPacker(ctx context.Context, in Input) (*packer, error) {
	image, err := os.OpenRoot(in.ImageRoot)
	if err != nil {
		return nil, fmt.Errorf("open the image: %w", err)
	}
	files, err := in.Source(ctx)
	if err != nil {
		return nil, errors.Join(err, image.Close())
	}
	listener, err := listen(ctx, in.Shared)
	if err != nil {
		return nil, errors.Join(err, files.Close(), image.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &packer{
		Input: in, files: files, image: image,
		listener: listener, cancel: cancel, stopped: make(chan struct{}), digests: make([]map[string]string, len(in.Model.Layers)),
	}
	p.startBackground(ctx, nil)
	go func() {
		defer close(p.stopped)
		serve(ctx, listener, p.handle)
	}()
	return p, nil
}

// stop stops the packer after Kaniko has ended, and returns why a command of
// Kaniko failed.
func (p *packer) stop() error {
	p.cancel()
	err := p.listener.Close()
	<-p.stopped
	_ = p.background.Wait() // Its error matters only to a command that waits for it.
	return errors.Join(p.err, err, p.files.Close(), p.image.Close())
}

// handle carries out the request of a command that Kaniko runs, and records why
// it failed.
func (p *packer) handle(ctx context.Context, request string) error {
	err := p.pack(ctx, request)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = failure.New(v1alpha1.ReasonBuildFailed, "the build ran out of disk space; it needs twice the size of the model: increase its limit of ephemeral storage").WithCause(err)
	}
	if err != nil {
		p.err = err
	}
	return err
}

func (p *packer) pack(ctx context.Context, request string) error {
	next := finishRequest
	if p.placed < len(p.Model.Layers) {
		next = strconv.Itoa(p.placed)
	}
	if request != next || p.finished {
		return fmt.Errorf("the command for %q ran when %q was next", request, next)
	}
	if err := p.background.Wait(); err != nil {
		return err
	}
	// Kaniko runs a command after it has written the layer before.
	archives, err := p.newArchives()
	if err != nil {
		return err
	}
	if request == finishRequest {
		return p.finish(ctx, archives)
	}
	if err := placeLayer(p.files, p.image, p.Model, p.placed); err != nil {
		return err
	}
	p.placed++
	p.startBackground(ctx, archives)
	return nil
}

// startBackground copies the next layer, and reads back the last but one of
// those that were placed, whose archives are given.
func (p *packer) startBackground(ctx context.Context, archives []string) {
	p.background, ctx = errgroup.WithContext(ctx)
	if next := p.placed; next < len(p.Model.Layers) {
		p.background.Go(func() error { return p.stage(ctx, next) })
	}
	if archived := p.placed - 2; archived >= 0 {
		p.background.Go(func() error { return p.readBack(ctx, archived, archives) })
	}
}

func (p *packer) stage(ctx context.Context, number int) error {
	entries := p.Model.Layers[number]
	p.digests[number] = map[string]string{}
	s := stager{files: p.files, image: p.image, layer: number, digests: p.digests[number], progress: p.Progress}
	if err := s.copy(ctx, entries); err != nil {
		return err
	}
	p.Progress.Flush()
	files, bytes := layer.Count(entries)
	console.Logf(p.Log, "layer %d: copied %s, %s", number, console.Count(files, "file"), console.Size(bytes))
	return nil
}

// newArchives returns the archives that Kaniko has written since the last call.
// Both forks of Kaniko keep them until the push.
func (p *packer) newArchives() ([]string, error) {
	archives, err := findArchives(p.KanikoDir)
	if err != nil {
		return nil, err
	}
	archives = slices.DeleteFunc(archives, func(archive string) bool { return slices.Contains(p.seen, archive) })
	p.seen = append(p.seen, archives...)
	return archives, nil
}

// readBack checks the archives of a layer against the plan.
func (p *packer) readBack(ctx context.Context, number int, archives []string) error {
	layers, err := readLayers(ctx, archives, p.Model.ModelDir(), p.Model.Layers[number], p.digests[number])
	p.archives = append(p.archives, layers...)
	if err != nil {
		return err
	}
	console.Logf(p.Log, "layer %d: Kaniko archived it completely", number)
	return nil
}

// closeArchives closes the archives of the layers.
func (p *packer) closeArchives() {
	for _, archive := range p.archives {
		_ = archive.file.Close()
	}
}

// finish checks the last layer and the source.
func (p *packer) finish(ctx context.Context, archives []string) error {
	if err := p.readBack(ctx, len(p.Model.Layers)-1, archives); err != nil {
		return err
	}
	if err := source.CheckUnchanged(ctx, p.Source, p.Model); err != nil {
		return err
	}
	p.finished = true
	return nil
}
