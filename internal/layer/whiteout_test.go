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
		t.Run(name, func(t *testing.T) { assert.Equal(t, want, RemovesModel(ModelDir, name)) })
	}
}

func TestRemovesModelElsewhere(t *testing.T) {
	tests := map[string]bool{
		".wh.opt":              true,
		"opt/.wh.llm":          true,
		"opt/.wh..wh..opq":     true,
		"opt/llm/sub/.wh.a":    true,
		"opt/llm/.wh..wh..opq": true,
		".wh..wh..opq":         true,
		"opt/.wh.other":        false,
		"kubedl-model/.wh.a":   false,
		"opt/llm/a":            false,
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, want, RemovesModel("opt/llm", name)) })
	}
}

func TestLinks(t *testing.T) {
	tests := map[string]struct {
		modelDir string
		keeps    bool
		want     []Entry
	}{
		"the default":                          {ModelDir, false, []Entry{{Path: "models", Type: Symlink, Link: "kubedl-model"}}},
		"something of the base image":          {ModelDir, true, nil},
		"KServe's directory":                   {"models", false, []Entry{{Path: "kubedl-model", Type: Symlink, Link: "models"}}},
		"a directory in that of KServe":        {"models/llm", false, []Entry{{Path: "kubedl-model", Type: Symlink, Link: "models/llm"}}},
		"another directory":                    {"opt/llm", false, []Entry{{Path: "kubedl-model", Type: Symlink, Link: "opt/llm"}, {Path: "models", Type: Symlink, Link: "opt/llm"}}},
		"another directory, on a base with it": {"opt/llm", true, []Entry{{Path: "kubedl-model", Type: Symlink, Link: "opt/llm"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, Links(tt.modelDir, tt.keeps)) })
	}
}

func TestCount(t *testing.T) {
	files, bytes := Count([]Entry{{Type: Dir}, {Type: File, Size: 2}, {Type: Symlink}, {Type: File, Size: 3}})
	assert.Equal(t, int64(2), files)
	assert.Equal(t, int64(5), bytes)
}
