package console

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSize(t *testing.T) {
	tests := map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 1 << 62: "4.0 EiB"}
	for bytes, want := range tests {
		assert.Equal(t, want, Size(bytes))
	}
}

func TestCount(t *testing.T) {
	assert.Equal(t, []string{"0 files", "1 file", "2 files"}, []string{Count(0, "file"), Count(int64(1), "file"), Count(2, "file")})
}
