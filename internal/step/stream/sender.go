package step

import (
	"context"
	"flag"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/step/stream"
)

// layersAtATime is how many layers are sent at the same time. Two are enough to
// keep a disk and a wire busy; the third is for when one waits.
const layersAtATime = 3

// streaming is the second step without Kaniko: it sends every layer from where
// its files lie, in one pass, and writes nothing to a disk.
type streaming struct {
	*places
	imageFlags
	previousImage string
	compression   string
	// changes says how a changed file is noticed.
	changes      string
	progressFile string
}

func defineStream(flags *flag.FlagSet, at *places) action {
	s := &streaming{places: at}
	s.defineImage(flags)
	flags.StringVar(&s.previousImage, "previous-image", "", "an image that may have many of the files already; empty is none")
	flags.StringVar(&s.compression, "compression", string(v1alpha1.NoCompression), string(v1alpha1.NoCompression)+" or "+string(v1alpha1.Zstd))
	flags.StringVar(&s.changes, "change-detection", string(v1alpha1.ChangesInContent), string(v1alpha1.ChangesInContent)+" or "+string(v1alpha1.ChangesInModTime))
	flags.StringVar(&s.progressFile, "progress-file", os.Getenv(progressVariable), "the `file` by which Argo is told how far the build is; empty is none")
	return s.run
}

func (s *streaming) run(ctx context.Context, out io.Writer) error {
	work, nothing, err := s.order(s.shared)
	if err != nil {
		return err
	}
	if nothing {
		say(out, nothingToBuild)
		return nil
	}
	root, err := work.Storage.Open()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	repository, err := work.config.Open(ctx, work.tag.Repository, registry.Push)
	if err != nil {
		return ofRegistry(err)
	}
	var from []name.Repository
	if ref, err := work.config.Reference(s.previousImage); err == nil && ref.Context() != work.tag.Repository {
		from = append(from, ref.Context())
	}
	uploader, err := work.config.NewUploader(ctx, repository, from...)
	if err != nil {
		return ofRegistry(err)
	}
	sending := &sending{
		root: root, plan: work.Plan, repository: repository, uploader: uploader,
		earlier: s.earlier(ctx, work, out), from: from, zstd: s.compression == string(v1alpha1.Zstd), out: out,
		trustTimes: s.changes == string(v1alpha1.ChangesInModTime),
		progress:   newTransfer(len(work.Plan.Layers), newProgress(s.progressFile, work.Plan.Bytes, out)),
	}
	say(out, "sending %d layers to %s", len(work.Plan.Layers), work.tag.Repository)
	layers, err := sending.run(ctx)
	if err != nil {
		return err
	}
	if err := checkUnchanged(ctx, work.job); err != nil {
		return err
	}
	if err := s.tag(ctx, repository, work, layers); err != nil {
		return err
	}
	say(out, "pushed %s: %s sent, %s was there already", work.tag, size(sending.sent), size(sending.reused))
	return addToReport(s.shared, func(r *report.Report) {
		r.Build = &report.Build{Layers: builtOf(layers), SentBytes: sending.sent, ReusedBytes: sending.reused}
	})
}

// tag gives the layers a list of the files, a config and, last, the tag: nobody
// sees half an image.
func (s *streaming) tag(ctx context.Context, repository *registry.Repository, work order, layers []stream.Layer) error {
	manifest := layer.ManifestOf(work.Plan, nil)
	manifest.Layers, manifest.Streamed = builtOf(layers), true
	list, digest, err := stream.ManifestLayer(manifest)
	if err != nil {
		return err
	}
	if err := writeExpected(s.shared, expected{ManifestSHA256: digest, Layers: manifest.Layers}); err != nil {
		return err
	}
	base, err := baseOf(ctx, work)
	if err != nil {
		return err
	}
	image, err := stream.Image(base, layers, list, s.lineage(work).Labels())
	if err != nil {
		return ofRegistry(repository.Explain(err))
	}
	if err := repository.Write(ctx, work.tag, image); err != nil {
		return ofRegistry(err)
	}
	return nil
}

// baseOf is the base image, or nil for scratch.
func baseOf(ctx context.Context, work order) (v1.Image, error) {
	if work.Base.Host == "" {
		return nil, nil
	}
	ref, err := work.config.Reference(work.Base.Reference)
	if err != nil {
		return nil, err
	}
	repository, err := work.config.Open(ctx, ref.Context(), registry.Pull)
	if err != nil {
		return nil, ofRegistry(err)
	}
	descriptor, err := repository.Get(ctx, ref)
	if err != nil {
		return nil, ofRegistry(err)
	}
	image, err := repository.Image(descriptor)
	if err != nil {
		return nil, ofRegistry(repository.Explain(err))
	}
	return image, nil
}

func builtOf(layers []stream.Layer) []report.BuiltLayer {
	built := make([]report.BuiltLayer, 0, len(layers))
	for _, l := range layers {
		built = append(built, report.BuiltLayer{DiffID: l.Unpacked.String(), Files: l.Files, Bytes: l.Bytes})
	}
	return built
}

// sending sends the layers of a plan.
type sending struct {
	root       *os.Root
	plan       layer.Plan
	repository *registry.Repository
	uploader   *registry.Uploader
	earlier    earlier
	// from are other repositories that may have the layers.
	from []name.Repository
	// zstd says that what is sent is compressed.
	zstd bool
	// trustTimes says that files with the time that they had in the earlier image
	// are not read.
	trustTimes bool
	// timesKept says that there are such files.
	timesKept bool
	out       io.Writer
	progress  *transfer
	// sent and reused count the bytes of layers once they are there.
	sent, reused int64
}

func (s *sending) run(ctx context.Context) ([]stream.Layer, error) {
	s.timesKept = s.trustTimes && s.earlier.keepsTimes(s.plan)
	layers := make([]stream.Layer, len(s.plan.Layers))
	there := make([]bool, len(layers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(layersAtATime)
	for number := range layers {
		group.Go(func() (err error) {
			layers[number], there[number], err = s.layer(ctx, number)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for number, l := range layers {
		if there[number] {
			s.reused += l.Length
		} else {
			s.sent += l.Length
		}
	}
	s.progress.end()
	return layers, nil
}

// layer sends one layer, unless the registry has it already. To know that, all
// of it has to be read, so that it is asked only where it is likely, or where
// the times of the files are trusted.
func (s *sending) layer(ctx context.Context, number int) (sent stream.Layer, there bool, err error) {
	entries := s.plan.Layers[number]
	archive, err := archiveOf(s.root, s.plan, number)
	if err != nil {
		return stream.Layer{}, false, err
	}
	sent = stream.Layer{Files: filesOf(entries), Bytes: bytesOf(entries)}
	if s.trustTimes {
		sent.Stat = layer.StatDigest(entries)
	}
	held, found, err := s.held(ctx, archive, sent.Stat, entries)
	if err != nil {
		return stream.Layer{}, false, err
	}
	if found {
		if there, err = s.isThere(ctx, held.Descriptor); err != nil || there {
			sent.Hash, sent.Length, sent.Type, sent.Unpacked = held.Digest, held.Size, held.MediaType, held.unpacked
			s.progress.at(number, archive.Size())
			return sent, there, err
		}
	}
	if err := s.send(ctx, number, archive, &sent); err != nil {
		return stream.Layer{}, false, ofRegistry(err)
	}
	say(s.out, "layer %d: sent %d files, %s", number, sent.Files, size(sent.Bytes))
	return sent, false, nil
}

// send sends a layer, compressed or not.
func (s *sending) send(ctx context.Context, number int, archive source.Archive, sent *stream.Layer) (err error) {
	far := func(bytes int64) { s.progress.at(number, bytes) }
	if !s.zstd {
		sent.Length, sent.Type = archive.Size(), types.OCIUncompressedLayer
		sent.Hash, err = s.uploader.Upload(ctx, archive, far)
		sent.Unpacked = sent.Hash
		return err
	}
	blob := &compressed{archive: archive, read: far}
	sent.Type = types.OCILayerZStd
	if sent.Hash, err = s.uploader.Upload(ctx, blob, func(bytes int64) { sent.Length = bytes }); err != nil {
		return err
	}
	sent.Unpacked, err = v1.NewHash(blob.diffID)
	return err
}
