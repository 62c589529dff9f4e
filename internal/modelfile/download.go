package modelfile

import "strings"

// downloadCache is where Hugging Face's libraries keep files until they are complete,
// below the directory into which they download a model
// (huggingface_hub/_local_folder.py), and incompleteSuffix is the suffix of these.
const (
	downloadCache    = "/.cache/huggingface/download/"
	incompleteSuffix = ".incomplete"
)

// checkDownloads reports the incomplete files of Hugging Face's libraries if their
// model has no weights. If it has, they may be left from an earlier download.
func (c *checker) checkDownloads() {
	for _, file := range c.files {
		dir, _, found := strings.Cut("/"+file.Path, downloadCache)
		if !found || !strings.HasSuffix(file.Path, incompleteSuffix) {
			continue
		}
		if dir = strings.TrimPrefix(dir, "/"); dir == "" {
			dir = "."
		}
		if !c.weights.below[dir] {
			c.problems.add("%s is an incomplete download", displayName(file.Path))
		}
	}
}
