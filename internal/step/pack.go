package step

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// defaultImageRoot is where Kaniko makes the image's file system: its own.
const defaultImageRoot = "/"

// defaultKanikoFolder is where Kaniko keeps its files.
const defaultKanikoFolder = "/kaniko"

// noLayer is the value of --layer when it is not given.
const noLayer = -1

// pack is what Kaniko runs, once for each layer and once for the manifest.
type pack struct {
	*places
	layer                   int
	manifest                bool
	imageRoot, kanikoFolder string
	progressFile            string
}

func definePack(flags *flag.FlagSet, at *places) action {
	p := &pack{places: at}
	flags.IntVar(&p.layer, "layer", noLayer, "the `number` of the layer to copy, from 0")
	flags.BoolVar(&p.manifest, "manifest", false, "write the list of the model's files")
	flags.StringVar(&p.imageRoot, "image-root", defaultImageRoot, "the `folder` that becomes the image")
	flags.StringVar(&p.kanikoFolder, "kaniko-folder", defaultKanikoFolder, "the `folder` in which Kaniko keeps its files")
	flags.StringVar(&p.progressFile, "progress-file", "", "the `file` by which Argo is told how far the build is; empty is none")
	return p.run
}

func (p *pack) run(ctx context.Context, out io.Writer) error {
	work, err := readJob(p.shared)
	if err != nil {
		return err
	}
	image, err := os.OpenRoot(p.imageRoot)
	if err != nil {
		return fmt.Errorf("open the image: %w", err)
	}
	defer func() { _ = image.Close() }()
	if p.manifest {
		err = p.finish(ctx, image, work, out)
	} else {
		err = p.copyLayer(ctx, image, work, out)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return failure.New(v1alpha1.ReasonBuildFailed, "the build ran out of disk space, of which it needs twice the model's size: give it more ephemeral storage").Because(err)
	}
	return err
}

func (p *pack) copyLayer(ctx context.Context, image *os.Root, work job, out io.Writer) error {
	if p.layer < 0 || p.layer >= len(work.Plan.Layers) {
		return fmt.Errorf("there is no layer %d, only %d layers", p.layer, len(work.Plan.Layers))
	}
	// The layer before is read by one core while another copies this one.
	group, ctx := errgroup.WithContext(ctx)
	if p.layer > 0 {
		group.Go(func() error { return readBack(ctx, p.shared, p.kanikoFolder, work.Plan, p.layer-1) })
	}
	digests := map[string]string{}
	group.Go(func() error { return p.copyEntries(ctx, image, work, digests) })
	if err := group.Wait(); err != nil {
		return err
	}
	if p.layer > 0 {
		say(out, wholeLayer, p.layer-1)
	}
	say(out, "layer %d: copied %d files, %s", p.layer, len(digests), size(bytesOf(work.Plan.Layers[p.layer])))
	return writeJSON(digestsFile(p.shared, p.layer), digests)
}

// wholeLayer is what the log says of a layer that was read back.
const wholeLayer = "layer %d: Kaniko has written all of it"

// copyEntries copies the layer's entries, and adds the SHA-256 of its files by
// path.
func (p *pack) copyEntries(ctx context.Context, image *os.Root, work job, digests map[string]string) error {
	from, err := work.Storage.Open()
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := p.openModelFolder(image)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }()

	far := &progress{file: p.progressFile, total: work.Plan.Bytes}
	for _, copied := range work.Plan.Layers[:p.layer] {
		far.done += bytesOf(copied)
	}
	c := copier{from: from, to: to, digests: digests, progress: far}
	for _, e := range work.Plan.Layers[p.layer] {
		if err := c.entry(ctx, e); err != nil {
			return err
		}
	}
	far.tell()
	// Putting something into a folder changes its time, which would make
	// another folder of it.
	return c.folderTimes(work.Plan)
}

// filesOf counts a layer's files.
func filesOf(entries []layer.Entry) (files int64) {
	for _, e := range entries {
		if e.Type == layer.File {
			files++
		}
	}
	return files
}

// bytesOf is the sum of the sizes of a layer's files.
func bytesOf(entries []layer.Entry) (bytes int64) {
	for _, e := range entries {
		bytes += e.Size
	}
	return bytes
}

// openModelFolder opens the folder in the image that holds the model. The
// first layer makes it. Whatever the base image has there, if anything, would
// be taken for a part of the model.
func (p *pack) openModelFolder(image *os.Root) (*os.Root, error) {
	folder := strings.TrimPrefix(v1alpha1.ModelPath, "/")
	if p.layer == 0 {
		err := image.Mkdir(folder, layer.ModeExecutable.Perm())
		if errors.Is(err, fs.ErrExist) {
			err = mayBeTaken(image, folder)
		}
		if err != nil {
			return nil, err
		}
	}
	to, err := image.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("open the model's folder in the image: %w", err)
	}
	return to, nil
}

// mayBeTaken says whether what a base image has at the model's place is an
// empty folder.
func mayBeTaken(image *os.Root, folder string) error {
	used := failure.New(v1alpha1.ReasonInvalidSpec, "the base image has something at %s already: choose a base image without", v1alpha1.ModelPath)
	info, err := image.Lstat(folder)
	if err != nil {
		return fmt.Errorf("look at the base image: %w", err)
	}
	if !info.IsDir() {
		return used
	}
	dir, err := image.Open(folder)
	if err != nil {
		return fmt.Errorf("look at the base image: %w", err)
	}
	defer func() { _ = dir.Close() }()
	if _, err := dir.ReadDir(1); !errors.Is(err, io.EOF) {
		return used
	}
	return nil
}

// finish checks the last layer and the source, and writes the list of the
// model's files into the image.
func (p *pack) finish(ctx context.Context, image *os.Root, work job, out io.Writer) error {
	plan := work.Plan
	last := len(plan.Layers) - 1
	if err := readBack(ctx, p.shared, p.kanikoFolder, plan, last); err != nil {
		return err
	}
	say(out, wholeLayer, last)
	if err := checkUnchanged(ctx, work); err != nil {
		return err
	}
	manifest, err := packedManifest(p.shared, plan)
	if err != nil {
		return err
	}
	digest, err := writeManifest(image, manifest, plan)
	if err != nil {
		return err
	}
	if err := linkForKServe(image, plan, out); err != nil {
		return err
	}
	return writeExpected(p.shared, expected{ManifestSHA256: digest, Layers: manifest.Layers})
}

// writeManifest writes the list of the model's files into the image, and
// returns the SHA-256 of what it wrote.
func writeManifest(image *os.Root, manifest layer.Manifest, plan layer.Plan) (string, error) {
	newest := newestIn(plan)
	// A base image that was made of a model has a list of its own.
	if err := image.RemoveAll(layer.ManifestFolder); err != nil {
		return "", fmt.Errorf("remove the base image's list of files: %w", err)
	}
	if err := image.Mkdir(layer.ManifestFolder, layer.ModeExecutable.Perm()); err != nil {
		return "", fmt.Errorf("make a folder for the list of files: %w", err)
	}
	file, err := image.OpenFile(layer.ManifestFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, layer.ModeReadable.Perm())
	if err != nil {
		return "", fmt.Errorf("write the list of files: %w", err)
	}
	defer func() { _ = file.Close() }()
	digest := sha256.New()
	if err := encodeJSON(io.MultiWriter(file, digest), manifest); err != nil {
		return "", fmt.Errorf("write the list of files: %w", err)
	}
	if err := normalise(image, layer.Entry{Path: layer.ManifestFile, Mode: layer.ModeReadable, ModTime: newest}); err != nil {
		return "", err
	}
	err = normalise(image, layer.Entry{Path: layer.ManifestFolder, Mode: layer.ModeExecutable, ModTime: newest})
	return hex.EncodeToString(digest.Sum(nil)), err
}

// newestIn is when the newest thing in a model was changed. What is put beside
// the model has this time, so that it does not depend on when it was built.
func newestIn(plan layer.Plan) (newest int64) {
	for _, e := range plan.Entries() {
		newest = max(newest, e.ModTime)
	}
	return newest
}

// kserveFolder is where KServe looks for a model in an image.
const kserveFolder = "models"

// linkForKServe makes a link to the model where KServe looks for it. KServe
// reads it from another container, as /proc/PID/root/models, so that the link is
// relative. What a base image has there stays: that may be what it runs.
func linkForKServe(image *os.Root, plan layer.Plan, out io.Writer) error {
	_, err := image.Lstat(kserveFolder)
	if err == nil {
		say(out, "the base image has something at /%s, which stays: KServe finds that, and not the model", kserveFolder)
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at the base image: %w", err)
	}
	return makeLink(image, layer.Entry{Path: kserveFolder, Link: strings.TrimPrefix(v1alpha1.ModelPath, "/"), ModTime: newestIn(plan)})
}

// copier copies a plan's entries from a model's source to its image.
type copier struct {
	from, to *os.Root
	// digests holds the SHA-256 of the files that were copied, by path.
	digests map[string]string
	// progress counts the bytes that were copied.
	progress io.Writer
}

func (c *copier) entry(ctx context.Context, e layer.Entry) error {
	switch e.Type {
	case layer.Folder:
		return c.folder(e)
	case layer.Symlink:
		return c.symlink(e)
	default:
		return c.file(ctx, e)
	}
}

func (c *copier) folder(e layer.Entry) error {
	if e.Path != layer.TopFolder {
		if err := c.to.Mkdir(e.Path, e.Mode.Perm()); err != nil {
			return fmt.Errorf("make a folder in the image: %w", err)
		}
	}
	return normalise(c.to, e)
}

func (c *copier) file(ctx context.Context, e layer.Entry) error {
	file, err := c.to.OpenFile(e.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, e.Mode.Perm())
	if err != nil {
		return fmt.Errorf("make a file in the image: %w", err)
	}
	digest, err := source.Read(ctx, c.from, e, io.MultiWriter(file, c.progress))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	c.digests[e.Path] = digest
	return normalise(c.to, e)
}

func (c *copier) symlink(e layer.Entry) error {
	if err := source.CheckLink(c.from, e); err != nil {
		return err
	}
	return makeLink(c.to, e)
}

// makeLink makes a symbolic link in the image, with its owner and its time.
func makeLink(image *os.Root, e layer.Entry) error {
	if err := image.Symlink(e.Link, e.Path); err != nil {
		return fmt.Errorf("make a link in the image: %w", err)
	}
	folder, err := image.Open(path.Dir(e.Path))
	if err != nil {
		return fmt.Errorf("set a link's time in the image: %w", err)
	}
	defer func() { _ = folder.Close() }()
	at := unix.NsecToTimespec(e.ModTime)
	err = unix.UtimesNanoAt(int(folder.Fd()), path.Base(e.Path), []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("set a link's time in the image: %w", err)
	}
	return own(image, e.Path)
}

// folderTimes gives every folder of the model its own time, the inner ones
// first.
func (c *copier) folderTimes(plan layer.Plan) error {
	for _, e := range slices.Backward(plan.Layers[0]) {
		if e.Type != layer.Folder {
			continue
		}
		if err := normalise(c.to, e); err != nil {
			return err
		}
	}
	return nil
}

// normalise gives something in the image its owner, mode and time, whatever
// the process's umask or a set-group-ID folder made of them.
func normalise(image *os.Root, e layer.Entry) error {
	if err := own(image, e.Path); err != nil {
		return err
	}
	if err := image.Chmod(e.Path, e.Mode.Perm()); err != nil {
		return fmt.Errorf("set a mode in the image: %w", err)
	}
	at := time.Unix(0, e.ModTime)
	if err := image.Chtimes(e.Path, at, at); err != nil {
		return fmt.Errorf("set a time in the image: %w", err)
	}
	return nil
}

// own gives something in the image to 0:0. In a pod this runs as root; without
// root, as in a test, things stay with whoever made them.
func own(image *os.Root, at string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := image.Lchown(at, 0, 0); err != nil {
		return fmt.Errorf("set an owner in the image: %w", err)
	}
	return nil
}
