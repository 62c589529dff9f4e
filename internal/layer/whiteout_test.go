package layer

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRemovesModel(t *testing.T) {
	tests := map[string]bool{
		".wh.kubedl-model":             true,
		"/.wh.kubedl-model":            true,
		"./kubedl-model/.wh.a":         true,
		"kubedl-model/sub/.wh.a/":      true,
		"kubedl-model/a":               false,
		"etc/.wh.passwd":               false,
		".wh.kubedl-model-of-my-own":   false,
		"other/kubedl-model/.wh.a":     false,
		"kubedl-model/.wh..wh..opq":    true,
		".wh..wh..opq":                 true,
		"//kubedl-model/.wh.a":         true,
		"../kubedl-model//x/../.wh.a":  true,
		"etc/.wh..wh..opq":             false,
		"kubedl-model-of-my-own/.wh.a": false,
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, want, RemovesModel(name)) })
	}
}

func TestCount(t *testing.T) {
	files, bytes := Count([]Entry{{Type: Dir}, {Type: File, Size: 2}, {Type: Symlink}, {Type: File, Size: 3}})
	assert.Equal(t, int64(2), files)
	assert.Equal(t, int64(5), bytes)
}
