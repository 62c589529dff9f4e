package layer

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// NotModel is what is packaged although it does not belong to a model.
type NotModel struct {
	// Bytes is the sum of the sizes of its files.
	Bytes int64
	// Paths are the directories, and the files elsewhere, the largest first.
	Paths []string
	// Patterns are those that exclude all of it.
	Patterns []string
}

const (
	// minNotModelBytes is how many bytes that do not belong to a model are worth a
	// message,
	minNotModelBytes = 100 << 20
	// and notModelShare their share of all: one in notModelShare.
	notModelShare = 4
)

var (
	// notModel are patterns of what no program needs to load a model: repositories,
	// snapshots of file servers, caches, and the states of a training, as Transformers,
	// Accelerate and DeepSpeed name them.
	notModel = mustRules(
		".git/", ".snapshot/", ".cache/",
		"optimizer.pt", "optimizer.bin", "*_optim_states.pt", "rng_state*",
	)
	// checkpoints are patterns of directories with earlier states of a model, which are
	// the model itself if there are no weights beside them.
	checkpoints = mustRules("/checkpoint-*/", "/global_step*/")
	weights     = mustRules(
		"/*.safetensors", "/*.gguf", "/*.onnx", "/*.keras", "/*.h5",
		"/pytorch_model*.bin", "/adapter_model.bin", "/consolidated*.pth", "/model*.pt",
	)
)

// mustRules returns rules of constant patterns.
func mustRules(patterns ...string) []namedRule {
	named := make([]namedRule, 0, len(patterns))
	for _, pattern := range patterns {
		r, err := newRule(pattern)
		if err != nil {
			panic(err)
		}
		named = append(named, namedRule{rule: r, pattern: pattern})
	}
	return named
}

// namedRule is a rule with the pattern that it was made of.
type namedRule struct {
	rule
	pattern string
}

// FindNotModel returns what does not belong to the model among the entries of a plan, if
// that is more than 100 MiB and more than a quarter of all bytes.
func FindNotModel(entries []Entry) NotModel {
	candidates := notModel
	if slices.ContainsFunc(entries, isWeights) {
		candidates = slices.Concat(notModel, checkpoints)
	}
	found, dirs, sizes := NotModel{}, map[string]string{}, map[string]int64{}
	// A directory comes before what is in it.
	for _, e := range slices.SortedFunc(slices.Values(entries), comparePaths) {
		owner, owned := dirs[path.Dir(e.Path)]
		if !owned {
			matching := slices.IndexFunc(candidates, func(r namedRule) bool { return r.match(e.Path, e.Type == Dir) })
			if matching < 0 {
				continue
			}
			owner = e.Path
			if pattern := candidates[matching].pattern; !slices.Contains(found.Patterns, pattern) {
				found.Patterns = append(found.Patterns, pattern)
			}
		}
		if e.Type == Dir {
			dirs[e.Path] = owner
		}
		sizes[owner] += e.Size
		found.Bytes += e.Size
	}
	_, bytes := Count(entries)
	if found.Bytes <= minNotModelBytes || found.Bytes <= bytes/notModelShare {
		return NotModel{}
	}
	for owner, size := range sizes {
		if size > 0 {
			found.Paths = append(found.Paths, owner)
		}
	}
	slices.SortFunc(found.Paths, func(a, b string) int { return cmp.Or(cmp.Compare(sizes[b], sizes[a]), strings.Compare(a, b)) })
	return found
}

func isWeights(e Entry) bool {
	return e.Type == File && slices.ContainsFunc(weights, func(r namedRule) bool { return r.match(e.Path, false) })
}
