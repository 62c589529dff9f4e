package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// StatDigest returns a digest of what the filesystem or the store reports about a
// layer's entries: paths, sizes, modes, link targets, and the identities of files or, if
// they have none, their modification times. Entries with the same digest have the same
// content as far as can be determined without reading it. With times this is no proof: a
// file can be rewritten and its time restored.
func StatDigest(entries []Entry) string {
	digest := sha256.New()
	encoder := json.NewEncoder(digest)
	for _, e := range entries {
		if e.Type != File || e.Identity != "" {
			// A directory's time changes whenever an entry is added to it, and is not
			// packaged. An identity says more than a time.
			e.ModTime = 0
		}
		// Neither encoding an entry nor writing to a digest can fail.
		_ = encoder.Encode(e)
	}
	return "sha256:" + hex.EncodeToString(digest.Sum(nil))
}

// HasIdentities reports whether there are files among entries, and each has an identity.
func HasIdentities(entries []Entry) bool {
	files, _ := Count(entries)
	return files > 0 && !slices.ContainsFunc(entries, func(e Entry) bool { return e.Type == File && e.Identity == "" })
}

// KnownDigests returns the SHA-256 of entries' files by path as far as their stores
// report it, or an index has it, which is that of the same files. complete is false if
// one of them is unknown.
func KnownDigests(entries []Entry, index Index) (digests map[string]string, complete bool) {
	digests = map[string]string{}
	for _, e := range entries {
		if e.Type != File {
			continue
		}
		sum, reported := strings.CutPrefix(e.Identity, "sha256:")
		if !reported {
			sum = index[e.Path].SHA256
		}
		if sum == "" {
			return nil, false
		}
		digests[e.Path] = sum
	}
	return digests, true
}
