package modelfile

import (
	"encoding/json"
	"errors"
	"io"
)

const (
	// maxHeader is the longest header that the format's library accepts:
	// MAX_HEADER_SIZE in
	// https://github.com/huggingface/safetensors/blob/main/safetensors/src/tensor.rs.
	maxHeader = 100_000_000
	// maxJSON is the longest text that is parsed, to limit the use of memory:
	// SAFETENSORS_MAX_HEADER_LENGTH in
	// https://github.com/huggingface/huggingface_hub/blob/main/src/huggingface_hub/constants.py.
	maxJSON = 25_000_000
)

// checkSafetensors compares a file's size with its header. The format: eight bytes
// with the header's length, little-endian; the header, a JSON object of tensors,
// each with its data_offsets from the header's end; and their data, which "needs to
// be entirely indexed, and cannot contain holes"
// (https://github.com/huggingface/safetensors#format).
func checkSafetensors(r *reader) error {
	header, err := r.uint64()
	if errors.Is(err, errTruncated) {
		return defect("is truncated: it has fewer than eight bytes")
	}
	if err != nil {
		return err
	}
	if header < uint64(len("{}")) || header > maxHeader {
		return defectf("is corrupted: its header cannot be %d bytes long", header)
	}
	start := r.offset + int64(header)
	if start > r.size {
		return truncated(r.size, start)
	}
	if header > maxJSON {
		return errUnsupported
	}
	data, err := dataLength(io.NewSectionReader(r.file, r.offset, int64(header)))
	if err != nil {
		return jsonError(err, "is corrupted: its header is not JSON")
	}
	if data > maxSize-start {
		return defectf("is corrupted: its header describes %d bytes", data)
	}
	switch want := start + data; {
	case r.size < want:
		return truncated(r.size, want)
	case r.size > want:
		return defectf("is corrupted: it has %d bytes, but its header describes only %d", r.size, want)
	}
	return nil
}

// maxSize is larger than any file.
const maxSize = 1 << 62

// dataLength returns where the last tensor of a header ends.
func dataLength(header io.Reader) (int64, error) {
	var end int64
	decoder := json.NewDecoder(header)
	err := forEachMember(decoder, func(name string) error {
		var tensor struct {
			Offsets []int64 `json:"data_offsets"`
		}
		if err := decoder.Decode(&tensor); err != nil || name == "__metadata__" {
			return err
		}
		if len(tensor.Offsets) != 2 {
			return errUnsupported
		}
		end = max(end, tensor.Offsets[1])
		return nil
	})
	return end, err
}

// forEachMember calls visit before the value of each member of an object. visit must
// read the value; so only a part of a long text is in memory.
func forEachMember(decoder *json.Decoder, visit func(name string) error) error {
	first, err := decoder.Token()
	if err != nil {
		return err
	}
	if first != json.Delim('{') {
		return errUnsupported
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		if err := visit(name); err != nil {
			return err
		}
	}
	_, err = decoder.Token()
	return err
}

// jsonError returns the given defect for a text that is not JSON, and errUnsupported
// for JSON of another structure. Errors of reading are returned unchanged.
func jsonError(err error, notJSON defect) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return notJSON
	case errors.As(err, &kind):
		return errUnsupported
	}
	return err
}
