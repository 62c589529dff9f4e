package modelfile

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// maxMetadata is how many bytes of a text or header in JSON are read for facts.
const maxMetadata = 1 << 20

// readConfig reads the configuration that the library Transformers writes
// (https://huggingface.co/docs/transformers/main_classes/configuration). The name or path
// is the one that the model was loaded from. That may be the model itself, so that it does
// not state a base model.
func readConfig(r *reader, s *stated) error {
	config, err := readObject(r, "architectures", "model_type", "dtype", "torch_dtype", "_name_or_path", "transformers_version")
	if err != nil {
		return err
	}
	s.property("architecture", config["architectures"]...)
	s.property("model-type", config["model_type"]...)
	s.property("dtype", first(config["dtype"], config["torch_dtype"]))
	s.property("name-or-path", config["_name_or_path"]...)
	s.property("transformers-version", config["transformers_version"]...)
	return nil
}

// readAdapterConfig reads the configuration of an adapter that the library PEFT writes
// (https://huggingface.co/docs/peft/developer_guides/checkpoint).
func readAdapterConfig(r *reader, s *stated) error {
	config, err := readObject(r, "base_model_name_or_path")
	if err != nil {
		return err
	}
	s.things(v1alpha1.BaseModelFact, config["base_model_name_or_path"]...)
	return nil
}

// readObject returns the texts of some members of the object in a file.
func readObject(r *reader, names ...string) (map[string][]string, error) {
	if r.size > maxMetadata {
		return nil, defectf("has more than %d KiB", maxMetadata>>10)
	}
	return readTexts(newJSON(r), names...)
}

// readTexts returns the texts of some members of an object: a text, or those in a list.
func readTexts(decoder *json.Decoder, names ...string) (map[string][]string, error) {
	found := map[string][]string{}
	err := forEachMember(decoder, func(name string) error {
		if !slices.Contains(names, name) {
			return skipValue(decoder)
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return err
		}
		var one *string
		var list []string
		switch {
		case json.Unmarshal(raw, &one) == nil && one != nil:
			found[name] = []string{*one}
		case json.Unmarshal(raw, &list) == nil:
			found[name] = list
		}
		return nil
	})
	return found, err
}

// metadataNames are what is read of metadata whose names the format does not define. Those
// with the prefix modelspec are from https://github.com/Stability-AI/ModelSpec.
var metadataNames = []string{
	"architecture", "base_model", "dataset", "format", "license", "name", "run_id", "task",
	"modelspec.architecture", "modelspec.license", "modelspec.title",
}

// metadata adds what metadata with these names states.
func (s *stated) metadata(values map[string][]string) {
	s.license(first(values["license"], values["modelspec.license"]), "")
	s.things(v1alpha1.BaseModelFact, values["base_model"]...)
	s.things(v1alpha1.DatasetFact, values["dataset"]...)
	s.things(v1alpha1.RunFact, values["run_id"]...)
	s.property("name", first(values["name"], values["modelspec.title"]))
	s.property("architecture", first(values["architecture"], values["modelspec.architecture"]))
	s.property("format", values["format"]...)
	s.property("task", values["task"]...)
}

// readSafetensorsFacts reads the member __metadata__ of a header, which the library of the
// format writes first.
func readSafetensorsFacts(r *reader, s *stated) error {
	header, err := r.uint64()
	if err != nil {
		return err
	}
	if header > maxHeader {
		return errUnsupported
	}
	decoder := newJSON(io.LimitReader(r, min(int64(header), maxMetadata)))
	err = forEachMember(decoder, func(name string) error {
		if name != "__metadata__" {
			return skipValue(decoder)
		}
		values, err := readTexts(decoder, metadataNames...)
		if err != nil {
			return err
		}
		s.metadata(values)
		return errEnough
	})
	if errors.Is(err, errEnough) || isCut(err) && header > maxMetadata {
		return nil
	}
	return err
}

// modelMetadata is the number of the field metadata_props of a ModelProto.
const modelMetadata = 14

// readONNXFacts reads the metadata of a model, and skips its graph.
func readONNXFacts(r *reader, s *stated) error {
	if err := checkONNXStart(r); err != nil {
		return err
	}
	values := map[string][]string{}
	err := r.forEachField(r.size, func(f field) error {
		if r.reads >= maxFactReads {
			return errEnough
		}
		if f.number != modelMetadata || f.wire != wireLen {
			return nil
		}
		name, value, err := r.readEntry(f.end)
		if errors.Is(err, errUnsupported) {
			return nil
		}
		if slices.Contains(metadataNames, name) {
			values[name] = []string{value}
		}
		return err
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	s.metadata(values)
	return nil
}

// ggufQuantizations are the names of the values of general.file_type: LlamaFileType in
// https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py.
var ggufQuantizations = map[string]string{
	"0": "F32", "1": "F16", "2": "Q4_0", "3": "Q4_1", "7": "Q8_0", "8": "Q5_0", "9": "Q5_1", "10": "Q2_K",
	"11": "Q3_K_S", "12": "Q3_K_M", "13": "Q3_K_L", "14": "Q4_K_S", "15": "Q4_K_M", "16": "Q5_K_S", "17": "Q5_K_M",
	"18": "Q6_K", "19": "IQ2_XXS", "20": "IQ2_XS", "21": "Q2_K_S", "22": "IQ3_XS", "23": "IQ3_XXS", "24": "IQ1_S",
	"25": "IQ4_NL", "26": "IQ3_S", "27": "IQ3_M", "28": "IQ2_S", "29": "IQ2_M", "30": "IQ4_XS", "31": "IQ1_M",
	"32": "BF16", "36": "TQ1_0", "37": "TQ2_0", "38": "MXFP4_MOE", "39": "NVFP4", "40": "Q1_0",
}

// readGGUFFacts reads the general metadata of a model, as far as it is in the first
// megabyte. Tools write it before the vocabulary.
func readGGUFFacts(r *reader, s *stated) error {
	counts, err := readGGUFHeader(r)
	if err != nil {
		return err
	}
	continues := r.size > maxMetadata
	r.size = min(r.size, maxMetadata)
	general := map[string][]string{}
	for range counts.metadata {
		err := readGGUFGeneral(r, general)
		if continues && errors.Is(err, errTruncated) {
			break
		}
		if err != nil {
			return err
		}
	}
	s.license(first(general["license.name"], general["license"]), first(general["license.link"]))
	s.ggufThings(v1alpha1.BaseModelFact, "base_model.", general)
	s.ggufThings(v1alpha1.DatasetFact, "dataset.", general)
	s.property("name", general["name"]...)
	s.property("architecture", general["architecture"]...)
	s.property("language", general["languages"]...)
	s.property("quantization", ggufQuantizations[first(general["file_type"])])
	return nil
}

// ggufThings adds base models or datasets, which are numbered from 0.
func (s *stated) ggufThings(kind v1alpha1.LineageKind, prefix string, general map[string][]string) {
	for i := 0; ; i++ {
		of := prefix + strconv.Itoa(i) + "."
		fact := v1alpha1.LineageFact{Kind: kind, Name: first(general[of+"name"]), URI: first(general[of+"repo_url"], general[of+"url"])}
		if fact.Name == "" && fact.URI == "" {
			return
		}
		s.add(fact)
	}
}

// readGGUFGeneral reads a name and its texts into a map without the prefix "general.", and
// skips others.
func readGGUFGeneral(r *reader, into map[string][]string) error {
	key, err := readGGUFText(r)
	if err != nil {
		return err
	}
	kind, err := r.uint32()
	if err != nil {
		return err
	}
	name, isGeneral := strings.CutPrefix(key, "general.")
	if !isGeneral {
		return skipGGUFValue(r, kind, 0)
	}
	into[name], err = readGGUFTexts(r, kind)
	return err
}

// readGGUFTexts reads a string, a list of strings, or a number, and skips other values.
func readGGUFTexts(r *reader, kind uint32) ([]string, error) {
	switch kind {
	case ggufString:
		value, err := readGGUFText(r)
		return []string{value}, err
	case ggufUint32:
		value, err := r.uint32()
		return []string{strconv.FormatUint(uint64(value), 10)}, err
	case ggufArray:
		return readGGUFList(r)
	}
	return nil, skipGGUFValue(r, kind, 0)
}

func readGGUFList(r *reader) ([]string, error) {
	start := r.offset
	kind, err := r.uint32()
	if err != nil {
		return nil, err
	}
	if kind != ggufString {
		r.seek(start)
		return nil, skipGGUFArray(r, 0)
	}
	length, err := r.uint64()
	if err != nil {
		return nil, err
	}
	var values []string
	for range length {
		value, err := readGGUFText(r)
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, nil
}

// readGGUFText reads a string. One that is too long for a fact is skipped.
func readGGUFText(r *reader) (string, error) {
	length, err := r.uint64()
	if err != nil {
		return "", err
	}
	if length > maxString {
		return "", r.skip(length)
	}
	value, err := r.bytes(int(length))
	return string(value), err
}
