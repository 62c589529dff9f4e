package step

import (
	"compress/gzip"
	"context"
	"io"
	"os"

	"github.com/modelkiln/modelkiln/internal/layer"
)

const (
	// samples and sampleSize say how much of a file is looked at to tell how
	// far it can be compressed.
	samples    = 16
	sampleSize = 64 << 10
	// certain is the part of the size so found that the file has at least: a
	// limit is not to be found too low by a guess.
	certain = 0.9
)

// leastUpload is what at least has to be uploaded of a file, in bytes. It is
// nothing for a file that cannot be read, which others say better.
func leastUpload(ctx context.Context, root *os.Root, e layer.Entry) int64 {
	file, err := root.Open(e.Path)
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }()
	var read, compressed int64
	for i := range int64(samples) {
		if ctx.Err() != nil {
			return 0
		}
		part := io.NewSectionReader(file, e.Size/samples*i, sampleSize)
		n, size := compress(part)
		read, compressed = read+n, compressed+size
	}
	if read == 0 {
		return 0
	}
	return int64(certain * float64(e.Size) * float64(compressed) / float64(read))
}

// compress returns how much there was to read, and what it is compressed, about
// as far as Kaniko compresses layers.
func compress(part io.Reader) (read, compressed int64) {
	var count counter
	zip := gzip.NewWriter(&count)
	read, err := io.Copy(zip, part)
	if err != nil || zip.Close() != nil {
		return 0, 0
	}
	return read, int64(count)
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
