package modelfile

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// splitName matches the names of the parts of a split model: what all have in common,
// the part's number and the number of parts, with five digits each
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#gguf-naming-convention,
// huggingface_hub/serialization, and DataFilename in
// tensorflow/core/util/tensor_bundle/naming.cc, which counts from 0).
var splitName = regexp.MustCompile(`^(.*-)(\d{5})-of-(\d{5})(\.(?i:gguf|safetensors|bin|pdparams))?$`)

// split is a model in numbered parts.
type split struct {
	prefix, suffix string
	first, count   int
}

func (s split) name(number int) string {
	return fmt.Sprintf("%s%05d-of-%05d%s", s.prefix, number, s.count, s.suffix)
}

// checkSplits checks that the other parts of split models exist. GGUF has no index, and
// that of the other formats may have been left out.
func (c *checker) checkSplits() {
	present := map[split]map[int]bool{}
	var models []split
	for _, file := range c.files {
		model, number, isPart := c.partOf(file.Path)
		if !isPart {
			continue
		}
		if present[model] == nil {
			present[model] = map[int]bool{}
			models = append(models, model)
		}
		present[model][number] = true
	}
	for _, model := range models {
		c.checkSplit(model, present[model])
	}
}

// partOf returns the split model that a file is a part of, and the number of that part.
func (c *checker) partOf(name string) (model split, number int, isPart bool) {
	parts := splitName.FindStringSubmatch(name)
	if parts == nil || isHidden(name) || c.listed[name] {
		return split{}, 0, false
	}
	// The pattern allows digits only.
	number, _ = strconv.Atoi(parts[2])
	count, _ := strconv.Atoi(parts[3])
	model = split{prefix: parts[1], suffix: parts[4], first: 1, count: count}
	switch {
	case model.suffix == "":
		// Without its index, a name like this may be that of a part of a data set.
		model.first = 0
		checkpoint, isData := strings.CutSuffix(model.prefix, checkpointData)
		return model, number, isData && c.isCheckpoint(checkpoint)
	case strings.EqualFold(model.suffix, ".gguf"):
		return model, number, true
	default:
		return model, number, !c.weights.hasOtherFormat(name)
	}
}

// isCheckpoint reports whether the variables of a TensorFlow model are stored under a
// prefix.
func (c *checker) isCheckpoint(prefix string) bool {
	_, hasIndex := c.sizes[prefix+checkpointIndex]
	_, hasModel := c.sizes[path.Join(path.Dir(path.Dir(prefix)), savedModel)]
	return hasIndex || hasModel && strings.HasSuffix("/"+prefix, "/"+savedVariables)
}

// checkSplit checks the parts of one model, of which these numbers are present.
func (c *checker) checkSplit(model split, present map[int]bool) {
	missing := model.count
	example := -1
	for number := range present {
		if number < model.first || number >= model.first+model.count {
			return
		}
		missing--
		if example < 0 || number < example {
			example = number
		}
	}
	if missing == 0 {
		return
	}
	var first []string
	for number := model.first; len(first) < min(2, missing); number++ {
		if !present[number] {
			first = append(first, model.name(number))
		}
	}
	c.problems.add("%s missing, while %s is one of %d parts", displaySome(first, missing), displayName(model.name(example)), model.count)
}
