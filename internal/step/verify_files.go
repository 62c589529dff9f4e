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
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// verifyFiles compares the files of a model, as a pod that serves it has them, with those
// that were signed. It is the only command that runs outside of a build.
type verifyFiles struct {
	model, list, listDigest string
}

func defineVerifyFiles(flags *flag.FlagSet, _ *paths) action {
	v := &verifyFiles{}
	flags.StringVar(&v.model, contract.FlagModel, "", "the `directory` with the files of the model")
	flags.StringVar(&v.list, contract.FlagList, "", "the `file` with the list of the files, /"+layer.ManifestFile+" of the model's image")
	flags.StringVar(&v.listDigest, contract.FlagListDigest, "", "the `digest` of the list, sha256:…, which the signature of the image has")
	return v.run
}

const (
	// verifyMemoryTarget is how many bytes of memory verify-files uses before it collects
	// garbage more often. Its container has a limit of 256Mi, and the list of 200,000
	// files takes half of it.
	verifyMemoryTarget = 192 << 20
	// maxHashedFiles is how many files are hashed at the same time.
	maxHashedFiles = 8
)

func (v *verifyFiles) run(ctx context.Context, log io.Writer) error {
	debug.SetMemoryLimit(verifyMemoryTarget)
	entries, err := v.readList()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(v.model)
	if err != nil {
		return fmt.Errorf("open the model: %w", err)
	}
	defer func() { _ = root.Close() }()
	if err := compareNames(root, entries); err != nil {
		return err
	}
	files, bytes := count(entries)
	console.Logf(log, "comparing the SHA-256 of %s, %s, with those that were signed", console.Count(files, "file"), console.Size(bytes))
	if err := compareContents(ctx, root, entries); err != nil {
		return err
	}
	console.Logf(log, "all files are those that were signed")
	return nil
}

// readList returns the entries of the list of files in path order, if it is the one that
// was signed.
func (v *verifyFiles) readList() ([]layer.ManifestEntry, error) {
	file, err := os.Open(v.list)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notSigned("the image lacks /%s", layer.ManifestFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of files: %w", err)
	}
	defer func() { _ = file.Close() }()
	manifest, digest, err := modelimage.DecodeManifest(file)
	var invalid *modelimage.InvalidError
	if errors.As(err, &invalid) {
		return nil, notSigned("the list of files in the image is damaged: %s", invalid.Problem)
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of files: %w", err)
	}
	if got := "sha256:" + digest; got != v.listDigest {
		return nil, notSigned("the list of files in the image has the digest %s instead of %s", got, v.listDigest)
	}
	slices.SortFunc(manifest.Entries, func(a, b layer.ManifestEntry) int { return strings.Compare(a.Path, b.Path) })
	return manifest.Entries, nil
}

// notSigned returns the failure of a model whose files are not those that were signed.
func notSigned(format string, args ...any) error {
	return failure.Verification(format+": this node does not have what was signed. Remove the image from the node, with crictl rmi, and recreate the pod", args...)
}

// count returns the number of files in a list, and the sum of their sizes.
func count(entries []layer.ManifestEntry) (files, bytes int64) {
	for _, e := range entries {
		if e.Type == layer.File {
			files, bytes = files+1, bytes+e.Size
		}
	}
	return files, bytes
}

// compareNames compares which files, directories and links a model has with a list in path
// order.
func compareNames(root *os.Root, entries []layer.ManifestEntry) error {
	found := make([]bool, len(entries))
	err := fs.WalkDir(root.FS(), layer.RootDir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read the model: %w", err)
		}
		i, listed := slices.BinarySearchFunc(entries, name, func(e layer.ManifestEntry, name string) int { return strings.Compare(e.Path, name) })
		if !listed {
			return notSigned("the model has %.100q, which is not in the list of its files", name)
		}
		found[i] = true
		return compareEntry(root, d, entries[i])
	})
	if err != nil {
		return err
	}
	if i := slices.Index(found, false); i >= 0 {
		return notSigned("the model lacks %.100q", entries[i].Path)
	}
	return nil
}

// compareEntry compares what is known of a file without reading it. Modes are not compared:
// a copy of the model has others.
func compareEntry(root *os.Root, d fs.DirEntry, want layer.ManifestEntry) error {
	if got := typeOf(d.Type()); got != want.Type {
		return notSigned("%.100q has the type %q instead of %q", want.Path, got, want.Type)
	}
	switch want.Type {
	case layer.File:
		info, err := d.Info()
		if err != nil {
			return fmt.Errorf("read the model: %w", err)
		}
		if info.Size() != want.Size {
			return notSigned("%.100q has %d bytes instead of %d", want.Path, info.Size(), want.Size)
		}
		if want.SHA256 == "" {
			return failure.Verification("the image does not list the SHA-256 of %.100q: build it with spec.build.fileDigests: Record", want.Path)
		}
	case layer.Symlink:
		target, err := root.Readlink(want.Path)
		if err != nil {
			return fmt.Errorf("read the model: %w", err)
		}
		if target != want.Link {
			return notSigned("the link %.100q leads to %.100q instead of %.100q", want.Path, target, want.Link)
		}
	case layer.Dir:
	}
	return nil
}

// typeOf returns the type of a file as lists have it, or a name of another type.
func typeOf(mode fs.FileMode) layer.Type {
	switch {
	case mode.IsRegular():
		return layer.File
	case mode.IsDir():
		return layer.Dir
	case mode&fs.ModeSymlink != 0:
		return layer.Symlink
	default:
		return "special file"
	}
}

// compareContents compares the SHA-256 of files with those in a list.
func compareContents(ctx context.Context, root *os.Root, entries []layer.ManifestEntry) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(runtime.GOMAXPROCS(0), maxHashedFiles))
	for _, want := range entries {
		if want.Type != layer.File {
			continue
		}
		group.Go(func() error {
			got, err := hashFile(ctx, root, want)
			if err != nil {
				return fmt.Errorf("read the model: %w", err)
			}
			if got != want.SHA256 {
				return notSigned("%.100q has the SHA-256 %s instead of %s", want.Path, got, want.SHA256)
			}
			return nil
		})
	}
	return group.Wait()
}

// hashFile returns the SHA-256 of a file in hexadecimal.
func hashFile(ctx context.Context, root *os.Root, of layer.ManifestEntry) (string, error) {
	file, err := root.Open(of.Path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	buffer := make([]byte, min(of.Size+1, engine.CopyBufferSize))
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := file.Read(buffer)
		_, _ = sum.Write(buffer[:n])
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}
