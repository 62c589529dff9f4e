package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
)

// bufferSize is the number of bytes of a file that are held in memory.
const bufferSize = 1 << 20

// Read copies a planned file to w and returns the SHA-256 of what it copied in
// hexadecimal. If the file does not match the plan, before or after copying, the
// error has the reason SourceChanging.
func Read(ctx context.Context, root *os.Root, planned layer.Entry, w io.Writer) (string, error) {
	file, err := root.OpenFile(planned.Path, openNonBlocking, 0)
	if err != nil {
		return "", cannotRead(planned.Path, err)
	}
	defer func() { _ = file.Close() }()
	if err := checkPlanned(file, planned); err != nil {
		return "", err
	}
	var count int64
	var cause error
	reader := readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := file.Read(p)
		count += int64(n)
		if err != nil && err != io.EOF {
			cause = err
		}
		return n, err
	})
	digest := sha256.New()
	// One byte more than planned is enough to detect that a file grows.
	_, err = io.CopyBuffer(io.MultiWriter(digest, w), io.LimitReader(reader, planned.Size+1), make([]byte, min(bufferSize, planned.Size+1)))
	if cause != nil {
		return "", cannotRead(planned.Path, cause)
	}
	if err != nil {
		return "", fmt.Errorf("copy %q: %w", planned.Path, err)
	}
	if count != planned.Size {
		return "", Changing(planned.Path)
	}
	if err := checkPlanned(file, planned); err != nil {
		return "", err
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// checkPlanned checks that an open file still matches the plan.
func checkPlanned(file *os.File, planned layer.Entry) error {
	info, err := file.Stat()
	if err != nil {
		return cannotRead(planned.Path, err)
	}
	if !info.Mode().IsRegular() || info.Size() != planned.Size || info.ModTime().UnixNano() != planned.ModTime {
		return Changing(planned.Path)
	}
	return nil
}

// Changing returns the failure of a file, or of the whole directory, that
// changed during the build.
func Changing(path string) error {
	what := strconv.Quote(path)
	if path == layer.RootDir {
		what = "the model's directory"
	}
	return failure.New(v1alpha1.ReasonSourceChanging, "%s changed while it was packaged: wait until nothing writes to it, then retry", what)
}

// CheckLink checks that a symbolic link still matches the plan. The error is a
// *failure.Error.
func CheckLink(root *os.Root, planned layer.Entry) error {
	info, err := root.Lstat(planned.Path)
	if err != nil {
		return cannotRead(planned.Path, err)
	}
	if info.Mode().Type() != fs.ModeSymlink {
		return Changing(planned.Path)
	}
	target, err := root.Readlink(planned.Path)
	if err != nil {
		return cannotRead(planned.Path, err)
	}
	if target != planned.Link {
		return Changing(planned.Path)
	}
	return nil
}

// readerFunc is a function as an io.Reader.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
