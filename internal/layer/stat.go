package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// StatDigest returns a digest of what the filesystem reports about a layer's
// entries: paths, sizes, modes, link targets and modification times of files.
// Entries with the same digest have the same content as far as can be determined
// without reading it. This is no proof: a file can be rewritten and its time
// restored.
func StatDigest(entries []Entry) string {
	digest := sha256.New()
	encoder := json.NewEncoder(digest)
	for _, e := range entries {
		if e.Type != File {
			// A directory's time changes whenever an entry is added to it, and is not
			// packaged.
			e.ModTime = 0
		}
		// Neither encoding an entry nor writing to a digest can fail.
		_ = encoder.Encode(e)
	}
	return "sha256:" + hex.EncodeToString(digest.Sum(nil))
}
