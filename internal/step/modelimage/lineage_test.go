package modelimage

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

func TestLabels(t *testing.T) {
	t.Run("name the model and the base image", func(t *testing.T) {
		got := Lineage{
			Model: "resnet", ModelVersion: "resnet-v1", ModelVersionUID: "1-2-3", Tag: "v1", CreatedBy: `ann="x", $HOME`,
			Created: time.Date(2026, 1, 31, 13, 0, 0, 0, time.FixedZone("", 3600)),
			Base:    handoff.BaseImage{Name: "busybox:1.37"},
		}.Labels(handoff.BaseVariant{Digest: "sha256:00"})
		assert.Equal(t, map[string]string{
			"org.opencontainers.image.title":       "resnet",
			"org.opencontainers.image.version":     "v1",
			"org.opencontainers.image.authors":     `ann="x", $HOME`,
			"org.opencontainers.image.created":     "2026-01-31T12:00:00Z",
			"org.opencontainers.image.base.name":   "busybox:1.37",
			"org.opencontainers.image.base.digest": "sha256:00",
			"model.kubedl.io/model-name":           "resnet",
			"model.kubedl.io/model-version":        "resnet-v1",
			"model.kubedl.io/model-version-uid":    "1-2-3",
			"model.kubedl.io/created-by":           `ann="x", $HOME`,
		}, got)
	})
	t.Run("leave out what is empty", func(t *testing.T) {
		assert.Empty(t, Lineage{Base: handoff.BaseImage{Name: handoff.Scratch}, CreatedBy: " \n"}.Labels(handoff.BaseVariant{}))
	})
	t.Run("are one line of at most 1024 characters", func(t *testing.T) {
		assert.Equal(t, "a b c [1m", Lineage{CreatedBy: "a\nb\x00c\x1b[1m"}.Labels(handoff.BaseVariant{})[LabelCreatedBy])
		assert.Len(t, []rune(Lineage{CreatedBy: strings.Repeat("é", 2000)}.Labels(handoff.BaseVariant{})[LabelCreatedBy]), 1024)
	})
}
