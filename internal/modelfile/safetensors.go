package modelfile

import (
	"encoding/json"
	"errors"
	"io"
)

const (
	// maxHeader is the longest header that the format's library takes:
	// MAX_HEADER_SIZE in
	// https://github.com/huggingface/safetensors/blob/main/safetensors/src/tensor.rs.
	maxHeader = 100_000_000
	// maxJSON is the longest text that is looked into, so that little memory
	// does: SAFETENSORS_MAX_HEADER_LENGTH in
	// https://github.com/huggingface/huggingface_hub/blob/main/src/huggingface_hub/constants.py.
	maxJSON = 25_000_000
)

// checkSafetensors compares a file's size with what its header speaks of. The
// format: eight bytes with the header's length, little-endian; the header, a
// JSON object of tensors, each with its data_offsets from the header's end; and
// their data, which "needs to be entirely indexed, and cannot contain holes"
// (https://github.com/huggingface/safetensors#format).
func checkSafetensors(r *reader) error {
	header, err := r.uint64()
	if errors.Is(err, errEnds) {
		return damage("is cut short: it ends within the first eight bytes")
	}
	if err != nil {
		return err
	}
	if header < uint64(len("{}")) || header > maxHeader {
		return damaged("is damaged: its header cannot be %d bytes long", header)
	}
	start := r.at + int64(header)
	if start > r.size {
		return cutShort(r.size, start)
	}
	if header > maxJSON {
		return errNotUnderstood
	}
	data, err := dataLength(io.NewSectionReader(r.file, r.at, int64(header)))
	if err != nil {
		return notJSON(err, "is damaged: its header is not JSON")
	}
	if data > maxSize-start {
		return damaged("is damaged: its header speaks of %d bytes", data)
	}
	switch want := start + data; {
	case r.size < want:
		return cutShort(r.size, want)
	case r.size > want:
		return damaged("is damaged: it holds %d bytes, and its header speaks of %d only", r.size, want)
	}
	return nil
}

// maxSize is more than any file holds.
const maxSize = 1 << 62

// dataLength returns where the last tensor of a header ends.
func dataLength(header io.Reader) (int64, error) {
	var end int64
	decoder := json.NewDecoder(header)
	err := members(decoder, func(name string) error {
		var tensor struct {
			Offsets []int64 `json:"data_offsets"`
		}
		if err := decoder.Decode(&tensor); err != nil || name == "__metadata__" {
			return err
		}
		if len(tensor.Offsets) != 2 {
			return errNotUnderstood
		}
		end = max(end, tensor.Offsets[1])
		return nil
	})
	return end, err
}

// members calls visit before the value of each member of an object, for it to
// read that, so that little of a long text is held in memory.
func members(decoder *json.Decoder, visit func(name string) error) error {
	first, err := decoder.Token()
	if err != nil {
		return err
	}
	if first != json.Delim('{') {
		return errNotUnderstood
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

// notJSON tells a text that is not JSON from one that says something else than
// expected, and from one that could not be read.
func notJSON(err error, found damage) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return found
	case errors.As(err, &kind):
		return errNotUnderstood
	}
	return err
}
