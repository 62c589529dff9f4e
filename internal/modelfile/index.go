package modelfile

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// indexName matches the names that Hugging Face's libraries give to the index of a
// sharded model, with or without a variant such as fp16
// (https://huggingface.co/docs/transformers/main/en/big_models and
// huggingface_hub/serialization).
var indexName = regexp.MustCompile(`\.(safetensors|bin|h5|msgpack)\.index(\.[^./]+)?\.json$`)

func isIndex(name string) bool { return indexName.MatchString(name) }

// checkIndex checks that the files that an index lists exist.
func (c *checker) checkIndex(file File, r *reader) error {
	shards, err := readIndex(file, r)
	if err != nil {
		return err
	}
	var missing, empty []string
	for _, shard := range shards {
		size, exists, err := c.stat(shard)
		switch {
		case err != nil:
			return err
		case !exists:
			missing = append(missing, shard)
		case size == 0 && !hasWeights(shard):
			empty = append(empty, shard)
		}
	}
	if len(empty) > 0 {
		c.problems.add("%s listed in %s but empty", displayNames(empty), displayName(file.Path))
	}
	if len(missing) == len(shards) && c.hasWeightsBelow(path.Dir(file.Path)) {
		return nil
	}
	if len(missing) > 0 {
		c.problems.add("%s listed in %s but missing", displayNames(missing), displayName(file.Path))
	}
	return nil
}

// readIndex returns the files that an index lists, in order: the values of its
// weight_map, relative to the index's directory.
func readIndex(file File, r *reader) ([]string, error) {
	if r.size > maxJSON {
		return nil, errUnsupported
	}
	if err := checkPointer(r); err != nil {
		return nil, err
	}
	shards := map[string]bool{}
	decoder := json.NewDecoder(io.NewSectionReader(r.file, 0, r.size))
	err := forEachMember(decoder, func(name string) error {
		if name != "weight_map" {
			var other json.RawMessage
			return decoder.Decode(&other)
		}
		return forEachMember(decoder, func(string) error {
			var shard string
			if err := decoder.Decode(&shard); err != nil {
				return err
			}
			if resolved := resolveReference(file, shard); resolved != "" {
				shards[resolved] = true
			}
			if len(shards) > maxReferences {
				return errUnsupported
			}
			return nil
		})
	})
	if err != nil {
		return nil, jsonError(err, "is truncated or corrupted: it is not JSON")
	}
	return slices.Sorted(maps.Keys(shards)), nil
}

// hasWeightsBelow reports whether a directory contains weights of any format. Users
// download a model in one of several formats, together with the indexes of the
// others: an index of which all files are missing means nothing then.
func (c *checker) hasWeightsBelow(dir string) bool {
	for _, file := range c.files {
		below := dir == "." || strings.HasPrefix(file.Path, dir+"/")
		if below && file.Size > 0 && !isHidden(file.Path) && hasWeights(file.Path) {
			return true
		}
	}
	return false
}

// splitName matches the names of the parts of a split GGUF model: the part's number
// and the number of parts, with five digits each
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#gguf-naming-convention).
var splitName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)

// checkSplit checks that the other parts of a split GGUF model exist: it has no
// index.
func (c *checker) checkSplit(name string) {
	parts := splitName.FindStringSubmatch(name)
	if parts == nil || c.checkedSplits[parts[1]+"/"+parts[3]] {
		return
	}
	c.checkedSplits[parts[1]+"/"+parts[3]] = true
	number, _ := strconv.Atoi(parts[2])
	count, _ := strconv.Atoi(parts[3])
	if number < 1 || number > count {
		return
	}
	var missing []string
	for i := range count {
		part := fmt.Sprintf("%s-%05d-of-%05d.gguf", parts[1], i+1, count)
		if _, exists := c.sizes[part]; !exists {
			missing = append(missing, part)
		}
	}
	if len(missing) > 0 {
		c.problems.add("%s missing, while %s is one of %d parts", displayNames(missing), displayName(name), count)
	}
}
