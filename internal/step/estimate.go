package step

import (
	"compress/gzip"
	"context"
	"io"
	"io/fs"

	"github.com/modelkiln/modelkiln/internal/layer"
)

const (
	// sampleCount and sampleSize are how much of a file is compressed to estimate
	// its compressed size.
	sampleCount = 16
	sampleSize  = 64 << 10
	// safetyFactor is the part of the estimate that is assumed as the minimum, so
	// that the estimate alone never fails a build.
	safetyFactor = 0.9
)

// minUploadSize estimates the minimum number of bytes to upload of a file. It
// returns 0 for a file that cannot be read, which other checks report.
func minUploadSize(ctx context.Context, dir fs.FS, e layer.Entry) int64 {
	file, err := dir.Open(e.Path)
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }()
	content, ok := file.(io.ReaderAt)
	if !ok {
		return 0
	}
	var read, compressed int64
	for i := range int64(sampleCount) {
		if ctx.Err() != nil {
			return 0
		}
		sample := io.NewSectionReader(content, e.Size/sampleCount*i, sampleSize)
		n, size := compressedSize(sample)
		read, compressed = read+n, compressed+size
	}
	if read == 0 {
		return 0
	}
	return int64(safetyFactor * float64(e.Size) * float64(compressed) / float64(read))
}

// compressedSize returns how many bytes were read, and their compressed size with
// about the compression that Kaniko uses for layers.
func compressedSize(sample io.Reader) (read, compressed int64) {
	var count byteCounter
	zip := gzip.NewWriter(&count)
	read, err := io.Copy(zip, sample)
	if err != nil || zip.Close() != nil {
		return 0, 0
	}
	return read, int64(count)
}

// byteCounter counts what is written to it.
type byteCounter int64

func (c *byteCounter) Write(p []byte) (int, error) {
	*c += byteCounter(len(p))
	return len(p), nil
}
