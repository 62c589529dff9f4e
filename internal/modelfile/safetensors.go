package modelfile

import (
	"encoding/json"
	"errors"
	"io"
)

// maxHeader is the longest header that the format's library accepts: MAX_HEADER_SIZE in
// https://github.com/huggingface/safetensors/blob/main/safetensors/src/tensor.rs.
const maxHeader = 100_000_000

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
	data, err := dataLength(newJSON(io.LimitReader(r, int64(header))))
	if isMalformed(err) {
		return defect("is corrupted: its header is not JSON")
	}
	if err != nil {
		return err
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
func dataLength(header *json.Decoder) (int64, error) {
	var end int64
	err := forEachMember(header, func(name string) error {
		if name == "__metadata__" {
			return skipValue(header)
		}
		tensorEnd, err := readDataEnd(header)
		end = max(end, tensorEnd)
		return err
	})
	return end, err
}

// readDataEnd returns the second of a tensor's two data_offsets.
func readDataEnd(header *json.Decoder) (int64, error) {
	var offsets [2]int64
	count := 0
	err := forEachMember(header, func(name string) error {
		if name != "data_offsets" {
			return skipValue(header)
		}
		return forEachElement(header, func() (err error) {
			if count == len(offsets) {
				return errUnsupported
			}
			offsets[count], err = readNumber(header)
			count++
			return err
		})
	})
	if err == nil && count != len(offsets) {
		err = errUnsupported
	}
	return offsets[1], err
}
