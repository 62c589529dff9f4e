package modelimage

import (
	"bytes"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/internal/registry"
)

// maxObjects is how many JSON objects a manifest, an index or a config of an image may
// have. Two bytes of JSON could otherwise stand for a hundred in memory. An index of
// 10,000 images has 30,000.
const maxObjects = 50_000

// checkDocument returns an *InvalidError for a document that takes too much memory when
// it is decoded. kind names it.
func checkDocument(kind string, raw []byte) error {
	if objects := bytes.Count(raw, []byte("{")); objects > maxObjects {
		return Invalid("its %s has %d JSON objects, and at most %d are read", kind, objects, maxObjects)
	}
	return nil
}

// checkImage checks the documents of an image before they are decoded. Its config is
// fetched only if it is said to have a size that is accepted: the client reads as much
// as the manifest says, and without an end if that is negative.
func checkImage(image v1.Image) error {
	raw, err := image.RawManifest()
	if err != nil {
		return err
	}
	if err := checkDocument("manifest", raw); err != nil {
		return err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return Invalid("its manifest cannot be decoded: %v", err)
	}
	if size := manifest.Config.Size; size < 0 || size > registry.MaxDocument {
		return Invalid("its config has %d bytes, and at most %d are read", size, registry.MaxDocument)
	}
	if !manifest.Config.MediaType.IsConfig() {
		// An artifact, whose config may not even exist.
		return nil
	}
	if raw, err = image.RawConfigFile(); err != nil {
		return err
	}
	return checkDocument("config", raw)
}
