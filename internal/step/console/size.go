package step

import (
	"fmt"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// size writes a number of bytes for people: 1.2 GiB.
func size(bytes int64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	value, prefixes := float64(bytes)/unit, "KMGTPE"
	for value >= unit && len(prefixes) > 1 {
		value, prefixes = value/unit, prefixes[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, prefixes[0])
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
