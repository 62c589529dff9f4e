package lineage

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLabels(t *testing.T) {
	got := Lineage{
		Model: "resnet", ModelVersion: "resnet-v1", ModelVersionUID: "1-2-3", Tag: "v1", CreatedBy: `ann="x", $HOME`,
		Base: "busybox:1.37", BaseDigest: "sha256:00",
	}.Labels()
	assert.Equal(t, map[string]string{
		"org.opencontainers.image.title":       "resnet",
		"org.opencontainers.image.version":     "v1",
		"org.opencontainers.image.authors":     `ann="x", $HOME`,
		"org.opencontainers.image.base.name":   "busybox:1.37",
		"org.opencontainers.image.base.digest": "sha256:00",
		"model.kubedl.io/model-name":           "resnet",
		"model.kubedl.io/model-version":        "resnet-v1",
		"model.kubedl.io/model-version-uid":    "1-2-3",
		"model.kubedl.io/created-by":           `ann="x", $HOME`,
	}, got)
	assert.Empty(t, Lineage{}.Labels())
}

func TestLabelValue(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"as it is":           {in: "Ann O'Hara <ann@example.com>", want: "Ann O'Hara <ann@example.com>"},
		"several lines":      {in: "a\nb\x00c\x1b[1m", want: "a b c [1m"},
		"bytes of no text":   {in: "a\xff", want: "a\uFFFD"},
		"only what is blank": {in: " \n", want: ""},
		"too long":           {in: strings.Repeat("é", 2000), want: strings.Repeat("é", 1024)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, labelValue(tt.in)) })
	}
}
