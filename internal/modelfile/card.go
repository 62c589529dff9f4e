package modelfile

import (
	"bytes"
	"cmp"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/text"
)

// maxYAML is how many bytes of a text with YAML are read. For as many, the parser was
// measured to allocate 72 MiB at most, of the 512Mi of mount-check.
const maxYAML = 256 << 10

// readCard reads the front matter of a model card
// (https://github.com/huggingface/hub-docs/blob/main/modelcard.md).
func readCard(r *reader, s *stated) error {
	var front []byte
	var hasFront, ends bool
	for _, limit := range []int64{minRead, maxYAML} { // Most cards need one read.
		r.seek(0)
		start, err := r.bytes(int(min(r.size, limit)))
		if err != nil {
			return err
		}
		if front, hasFront, ends = frontMatter(start); !hasFront || ends || r.size <= limit {
			break
		}
	}
	switch {
	case !hasFront:
		return nil
	case !ends && r.size > maxYAML:
		return defectf("has a front matter that does not end within %d KiB", maxYAML>>10)
	case !ends:
		return defect("has a front matter without an end")
	}
	card, err := parseYAML(front)
	if err != nil {
		return err
	}
	license := first(texts(member(card, "license_name")), texts(member(card, "license")))
	s.license(license, first(texts(member(card, "license_link"))))
	s.onHub(v1alpha1.BaseModelFact, "hf://", texts(member(card, "base_model"))...)
	s.onHub(v1alpha1.DatasetFact, "hf://datasets/", texts(member(card, "datasets"))...)
	s.property("language", texts(member(card, "language"))...)
	s.property("task", texts(member(card, "pipeline_tag"))...)
	s.modelIndex(member(card, "model-index"))
	return nil
}

// modelIndex adds the metrics of a card, each with the dataset on which it was measured.
func (s *stated) modelIndex(index *yaml.Node) {
	for _, model := range elements(index) {
		for _, result := range elements(member(model, "results")) {
			dataset := member(result, "dataset")
			on := first(texts(member(dataset, "name")), texts(member(dataset, "type")))
			for _, metric := range elements(member(result, "metrics")) {
				s.metric(first(texts(member(metric, "name")), texts(member(metric, "type"))), first(texts(member(metric, "value"))), on)
			}
		}
	}
}

// metric adds a metric that has a name and a value.
func (s *stated) metric(name, value, dataset string) {
	if name != "" && value != "" {
		s.add(v1alpha1.LineageFact{Kind: v1alpha1.MetricFact, Name: name, Value: value, Dataset: dataset})
	}
}

// readMLmodel reads the description that MLflow writes beside a model
// (https://mlflow.org/docs/latest/ml/model/#mlmodel-configuration).
func readMLmodel(r *reader, s *stated) error {
	if r.size > maxYAML {
		return defectf("has more than %d KiB", maxYAML>>10)
	}
	content, err := r.bytes(int(r.size))
	if err != nil {
		return err
	}
	model, err := parseYAML(content)
	if err != nil {
		return err
	}
	s.things(v1alpha1.RunFact, texts(member(model, "run_id"))...)
	return nil
}

// frontMatter returns the lines between the first line that is not empty, if that is "---",
// and the next such line.
func frontMatter(card []byte) (front []byte, found, ends bool) {
	isFence := func(line []byte) bool { return string(bytes.TrimRight(line, " \t\r")) == "---" }
	card = bytes.TrimLeft(bytes.TrimPrefix(card, []byte("\ufeff")), " \t\r\n")
	line, rest, _ := bytes.Cut(card, []byte("\n"))
	if !isFence(line) {
		return nil, false, false
	}
	for start := rest; len(rest) > 0; {
		before := len(start) - len(rest)
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if isFence(line) {
			return start[:before], true, true
		}
	}
	return nil, true, false
}

// parseYAML parses a mapping. Its aliases stay aliases: a text of a few lines can stand for
// gigabytes. A mapping with a key twice is broken: of its readers, some take the first value
// and some the last.
func parseYAML(content []byte) (*yaml.Node, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, defectf("is not YAML: %s", text.Sentence(err.Error(), maxNameLength))
	}
	if len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		return nil, defect("has YAML that is not a mapping")
	}
	keys := map[string]bool{}
	for pair := range slices.Chunk(document.Content[0].Content, 2) {
		key := pair[0]
		if key.Kind != yaml.ScalarNode {
			continue
		}
		if keys[key.Value] {
			return nil, defectf("has the key %q twice", text.OneLine(key.Value, maxNameLength))
		}
		keys[key.Value] = true
	}
	return document.Content[0], nil
}

// member returns the value of a key of a mapping, or nil.
func member(of *yaml.Node, key string) *yaml.Node {
	if of == nil || of.Kind != yaml.MappingNode {
		return nil
	}
	for pair := range slices.Chunk(of.Content, 2) {
		if pair[0].Kind == yaml.ScalarNode && pair[0].Value == key {
			return pair[1]
		}
	}
	return nil
}

// elements returns the elements of a sequence.
func elements(of *yaml.Node) []*yaml.Node {
	if of == nil || of.Kind != yaml.SequenceNode {
		return nil
	}
	return of.Content
}

// texts returns a scalar, or the scalars in a sequence, as they are written.
func texts(of *yaml.Node) []string {
	switch {
	case of == nil || of.Tag == "!!null":
		return nil
	case of.Kind == yaml.ScalarNode:
		return []string{of.Value}
	}
	var values []string
	for _, element := range elements(of) {
		if element.Kind == yaml.ScalarNode && element.Tag != "!!null" {
			values = append(values, element.Value)
		}
	}
	return values
}

// first returns the first text of the first list that has one.
func first(lists ...[]string) string {
	return cmp.Or(slices.Concat(lists...)...)
}
