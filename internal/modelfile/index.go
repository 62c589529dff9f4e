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

// indexName is how Hugging Face's libraries name the index of a model that is
// spread over several files, with a variant such as fp16 in it or not
// (https://huggingface.co/docs/transformers/main/en/big_models and
// huggingface_hub/serialization).
var indexName = regexp.MustCompile(`\.(safetensors|bin|h5|msgpack)\.index(\.[^./]+)?\.json$`)

func isIndex(name string) bool { return indexName.MatchString(name) }

// lookAtIndex looks for the files that an index names.
func (c *checker) lookAtIndex(file File, r *reader) error {
	shards, err := readIndex(file, r)
	if err != nil {
		return err
	}
	var absent, empty []string
	for _, shard := range shards {
		size, there, err := c.find(shard)
		switch {
		case err != nil:
			return err
		case !there:
			absent = append(absent, shard)
		case size == 0 && !holdsWeights(shard):
			empty = append(empty, shard)
		}
	}
	if len(empty) > 0 {
		c.problems.add("%s %s named in %s and empty", shownList(empty), are(empty), shown(file.Path))
	}
	if len(absent) == len(shards) && c.otherWeights(path.Dir(file.Path)) {
		return nil
	}
	if len(absent) > 0 {
		c.problems.add("%s %s named in %s and not there", shownList(absent), are(absent), shown(file.Path))
	}
	return nil
}

// readIndex returns, in order, the files that an index names: the values of its
// weight_map, relative to the folder that it is in.
func readIndex(file File, r *reader) ([]string, error) {
	if r.size > maxJSON {
		return nil, errNotUnderstood
	}
	if err := checkPointer(r); err != nil {
		return nil, err
	}
	shards := map[string]bool{}
	decoder := json.NewDecoder(io.NewSectionReader(r.file, 0, r.size))
	err := members(decoder, func(name string) error {
		if name != "weight_map" {
			var other json.RawMessage
			return decoder.Decode(&other)
		}
		return members(decoder, func(string) error {
			var shard string
			if err := decoder.Decode(&shard); err != nil {
				return err
			}
			if at := beside(file, shard); at != "" {
				shards[at] = true
			}
			if len(shards) > maxNamed {
				return errNotUnderstood
			}
			return nil
		})
	})
	if err != nil {
		return nil, notJSON(err, "is cut short or damaged: it is not JSON")
	}
	return slices.Sorted(maps.Keys(shards)), nil
}

// otherWeights says whether a folder holds weights, whichever. People download
// a model in one of several formats, and the indexes of the others with it: an
// index none of whose files is there means nothing then.
func (c *checker) otherWeights(folder string) bool {
	for _, file := range c.files {
		below := folder == "." || strings.HasPrefix(file.Path, folder+"/")
		if below && file.Size > 0 && !hidden(file.Path) && holdsWeights(file.Path) {
			return true
		}
	}
	return false
}

// splitName is how the parts of a GGUF model are named: their number and how
// many there are, of five digits
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#gguf-naming-convention).
var splitName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)

// lookAtSplit looks for the other parts of a GGUF model, which has no index.
func (c *checker) lookAtSplit(name string) {
	parts := splitName.FindStringSubmatch(name)
	if parts == nil || c.seenSplits[parts[1]+"/"+parts[3]] {
		return
	}
	c.seenSplits[parts[1]+"/"+parts[3]] = true
	number, _ := strconv.Atoi(parts[2])
	count, _ := strconv.Atoi(parts[3])
	if number < 1 || number > count {
		return
	}
	var absent []string
	for i := range count {
		part := fmt.Sprintf("%s-%05d-of-%05d.gguf", parts[1], i+1, count)
		if _, there := c.sizes[part]; !there {
			absent = append(absent, part)
		}
	}
	if len(absent) > 0 {
		c.problems.add("%s %s not there, and %s is one of %d parts", shownList(absent), are(absent), shown(name), count)
	}
}
