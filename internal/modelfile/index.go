package modelfile

import (
	"encoding/json"
	"path"
	"regexp"
)

// indexName matches the names that Hugging Face's and Paddle's libraries give to the
// index of a sharded model, with or without a variant such as fp16
// (https://huggingface.co/docs/transformers/main/en/big_models,
// huggingface_hub/serialization and paddleformers/utils/env.py).
var indexName = regexp.MustCompile(`\.(safetensors|bin|h5|msgpack|pdparams)\.index(\.[^./]+)?\.json$`)

func isIndex(name string) bool { return indexName.MatchString(name) }

// listName matches the names of other files that list the files of a model: those of
// Keras (keras/src/saving/saving_lib.py), MLC (tvm/contrib/tvmjs.py) and TensorFlow.js
// (https://www.tensorflow.org/js/guide/save_load).
var listName = regexp.MustCompile(`(\.weights|(^|/)(ndarray-cache(-b16)?|tensor-cache(-b16)?|model))\.json$`)

func isList(name string) bool { return isIndex(name) || listName.MatchString(name) }

// checkIndex remembers the files that an index lists. Other programs may give other
// content to files with the names of some indexes.
func (c *checker) checkIndex(file File, r *reader) error {
	if r.size > maxJSON {
		return errUnsupported
	}
	decoder := newJSON(r)
	needs, err := readIndex(file, decoder)
	switch {
	case isMalformed(err) && isIndex(file.Path):
		return defect("is truncated or corrupted: it is not JSON")
	case err != nil:
		return jsonDefect(decoder, err)
	}
	return c.addList(list{file: file, needs: needs, excuse: c.excuseIndex})
}

// excuseIndex returns the missing files of an index. An index of which all files are
// missing means nothing if there are weights of another format: users download one of
// several, together with the indexes of the others.
func (c *checker) excuseIndex(l list) []string {
	if len(l.missing) == len(l.needs) && c.weights.below[path.Dir(l.file.Path)] {
		return nil
	}
	return l.missing
}

// readIndex returns the files that an index lists.
func readIndex(file File, index *json.Decoder) (references, error) {
	needs := references{}
	err := forEachMember(index, func(name string) error {
		switch name {
		case "weight_map":
			return readWeightMap(file, index, needs)
		case "records":
			return readRecords(file, index, needs)
		case "weightsManifest":
			return readManifest(file, index, needs)
		default:
			return skipValue(index)
		}
	})
	return needs, err
}

// readWeightMap reads the names of the files of all tensors: one for each tensor.
func readWeightMap(file File, index *json.Decoder, needs references) error {
	return forEachMember(index, func(string) error {
		shard, err := readText(index)
		if err != nil {
			return err
		}
		return needs.add(file, shard, 1)
	})
}

// readRecords reads what MLC writes about each file: its name and size.
func readRecords(file File, index *json.Decoder, needs references) error {
	return forEachElement(index, func() error {
		var name string
		var size int64
		err := forEachMember(index, func(member string) (err error) {
			switch member {
			case "dataPath":
				name, err = readText(index)
			case "nbytes":
				size, err = readNumber(index)
			default:
				err = skipValue(index)
			}
			return err
		})
		if err != nil {
			return err
		}
		return needs.add(file, name, size)
	})
}

// readManifest reads the names of the files of each group of TensorFlow.js.
func readManifest(file File, index *json.Decoder, needs references) error {
	return forEachElement(index, func() error {
		return forEachMember(index, func(member string) error {
			if member != "paths" {
				return skipValue(index)
			}
			return forEachElement(index, func() error {
				name, err := readText(index)
				if err != nil {
					return err
				}
				return needs.add(file, name, 0)
			})
		})
	})
}
