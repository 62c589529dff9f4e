package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// StatDigest is a digest of what a filesystem says of a layer's entries: their
// paths, sizes, modes and targets, and when files were last written. Entries
// with the same one have the same content as far as can be told without reading
// it. It is not proof: a file can be written and its time set back.
func StatDigest(entries []Entry) string {
	digest := sha256.New()
	encoder := json.NewEncoder(digest)
	for _, e := range entries {
		if e.Type != File {
			// A folder's time changes with what is put into it, and is not packaged.
			e.ModTime = 0
		}
		// Neither the entry nor the digest can fail to be written.
		_ = encoder.Encode(e)
	}
	return "sha256:" + hex.EncodeToString(digest.Sum(nil))
}
