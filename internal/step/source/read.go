package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
func Read(ctx context.Context, files Files, planned layer.Entry, w io.Writer) (string, error) {
	content, err := files.Open(ctx, planned, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = content.Close() }()
	digest := sha256.New()
	var cause error
	reader := readerFunc(func(p []byte) (int, error) {
		n, err := content.Read(p)
		if err != nil && !errors.Is(err, io.EOF) {
			cause = err
		}
		return n, err
	})
	count, err := io.CopyBuffer(io.MultiWriter(digest, w), reader, make([]byte, max(1, min(bufferSize, planned.Size))))
	switch {
	case cause != nil:
		return "", cause
	case err != nil:
		return "", fmt.Errorf("copy %q: %w", planned.Path, err)
	case count != planned.Size:
		return "", Changing(planned.Path)
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

// readerFunc is a function as an io.Reader.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
