package modelfile

import (
	"cmp"
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
	for _, shard := range shards {
		c.listed[shard] = true
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
	if pointer, err := isPointer(r); err != nil || pointer {
		return nil, cmp.Or(err, error(errPointer))
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

// minUnknownWeights is the size in bytes from which a file of an unknown format may
// contain weights.
const minUnknownWeights = 1 << 20

// textFormats are the extensions of files that never contain weights, however large.
var textFormats = []string{".json", ".txt", ".md", ".py", ".jinja", ".model", ".csv", ".yaml", ".yml"}

// hasWeightsBelow reports whether a directory contains weights of any format. Users
// download a model in one of several formats, together with the indexes of the
// others: an index of which all files are missing means nothing then. A large file of an
// unknown format may contain them, too.
func (c *checker) hasWeightsBelow(dir string) bool {
	return slices.ContainsFunc(c.files, func(file File) bool {
		below := dir == "." || strings.HasPrefix(file.Path, dir+"/")
		if !below || file.Size == 0 || isHidden(file.Path) {
			return false
		}
		unknown := file.Size > minUnknownWeights && !slices.Contains(textFormats, extension(file.Path)) && !slices.Contains(illustrations, extension(file.Path))
		return hasWeights(file.Path) || unknown
	})
}

// splitName matches the names of the parts of a split model: the part's number and the
// number of parts, with five digits each
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#gguf-naming-convention, and
// huggingface_hub/serialization).
var splitName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.(gguf|safetensors|bin)$`)

// checkSplits checks that the other parts of split models exist. GGUF has no index, and
// that of the other formats may have been left out.
func (c *checker) checkSplits() {
	present := map[string]map[int]bool{}
	var models [][]string
	for _, file := range c.files {
		parts := splitName.FindStringSubmatch(file.Path)
		if parts == nil || isHidden(file.Path) || c.listed[file.Path] || parts[4] != "gguf" && c.hasOtherFormat(file.Path) {
			continue
		}
		model := parts[1] + "/" + parts[3] + parts[4]
		if present[model] == nil {
			present[model] = map[int]bool{}
			models = append(models, parts)
		}
		// The pattern allows digits only.
		number, _ := strconv.Atoi(parts[2])
		present[model][number] = true
	}
	for _, parts := range models {
		c.checkSplit(parts, present[parts[1]+"/"+parts[3]+parts[4]])
	}
}

// checkSplit checks the parts of one model, of which these numbers are present. parts
// describes the first of them.
func (c *checker) checkSplit(parts []string, present map[int]bool) {
	count, _ := strconv.Atoi(parts[3])
	missing := count
	for number := range present {
		if number < 1 || number > count {
			return
		}
		missing--
	}
	if missing == 0 {
		return
	}
	var first []string
	for number := 1; len(first) < min(2, missing); number++ {
		if !present[number] {
			first = append(first, fmt.Sprintf("%s-%05d-of-%05d.%s", parts[1], number, count, parts[4]))
		}
	}
	c.problems.add("%s missing, while %s is one of %d parts", displaySome(first, missing), displayName(parts[0]), count)
}
