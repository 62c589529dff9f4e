package kaniko

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/engine"
)

func TestNearDiskLimit(t *testing.T) {
	tests := map[string]struct {
		copied, limit int64
		want          bool
	}{
		"far from the limit":         {copied: 10, limit: 40},
		"near the limit":             {copied: 20, limit: 40, want: true},
		"without a limit":            {copied: 20},
		"before anything was copied": {limit: 40},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			progress := console.NewProgress("", 100, io.Discard)
			progress.Add(tt.copied)
			assert.Equal(t, tt.want, nearDiskLimit(Input{Input: engine.Input{Progress: progress}, DiskLimit: tt.limit}))
		})
	}
}
