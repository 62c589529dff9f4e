package modelfile

// msgpackFormat is what follows the first byte of a value: fixed bytes, and a length of
// lengthBytes, which counts nested values if there are some for each, and bytes
// otherwise.
type msgpackFormat struct {
	fixed       uint64
	lengthBytes int
	nested      uint64
}

// msgpackNever is the first byte that no value has.
const msgpackNever = 0xc1

// msgpackFormats are the formats from 0xc0 to 0xdf
// (https://github.com/msgpack/msgpack/blob/master/spec.md#formats).
var msgpackFormats = [32]msgpackFormat{
	0x04: {lengthBytes: 1}, 0x05: {lengthBytes: 2}, 0x06: {lengthBytes: 4}, // bin
	0x07: {fixed: 1, lengthBytes: 1}, 0x08: {fixed: 1, lengthBytes: 2}, 0x09: {fixed: 1, lengthBytes: 4}, // ext
	0x0a: {fixed: 4}, 0x0b: {fixed: 8}, // float
	0x0c: {fixed: 1}, 0x0d: {fixed: 2}, 0x0e: {fixed: 4}, 0x0f: {fixed: 8}, // uint
	0x10: {fixed: 1}, 0x11: {fixed: 2}, 0x12: {fixed: 4}, 0x13: {fixed: 8}, // int
	0x14: {fixed: 2}, 0x15: {fixed: 3}, 0x16: {fixed: 5}, 0x17: {fixed: 9}, 0x18: {fixed: 17}, // fixext
	0x19: {lengthBytes: 1}, 0x1a: {lengthBytes: 2}, 0x1b: {lengthBytes: 4}, // str
	0x1c: {lengthBytes: 2, nested: 1}, 0x1d: {lengthBytes: 4, nested: 1}, // array
	0x1e: {lengthBytes: 2, nested: 2}, 0x1f: {lengthBytes: 4, nested: 2}, // map
}

// checkMsgpack walks through the weights of Flax or Burn, which are a map of names, and
// skips their data. The format's libraries read the data, too.
func checkMsgpack(r *reader) error {
	if r.size < 2 {
		return errUnsupported
	}
	isMap, err := startsLikeWeights(r)
	if err != nil {
		return err
	}
	if !isMap {
		return errUnsupported
	}
	for values := uint64(1); values > 0; values-- {
		nested, err := skipMsgpack(r)
		if err != nil {
			return err
		}
		values += nested
	}
	return nil
}

// startsLikeWeights reports whether a file starts with a map whose first key is a text.
func startsLikeWeights(r *reader) (bool, error) {
	first, err := r.bytes(1)
	if err != nil {
		return false, err
	}
	switch b := first[0]; {
	case b >= 0x81 && b <= 0x8f:
	case b == 0xde:
		r.seek(3)
	case b == 0xdf:
		r.seek(5)
	default:
		return false, nil
	}
	if r.remaining() <= 0 {
		return false, nil
	}
	key, err := r.bytes(1)
	if err != nil {
		return false, err
	}
	r.seek(0)
	return key[0] >= 0xa0 && key[0] <= 0xbf || key[0] >= 0xd9 && key[0] <= 0xdb, nil
}

// skipMsgpack skips a value, and returns how many values are nested in it.
func skipMsgpack(r *reader) (uint64, error) {
	first, err := r.bytes(1)
	if err != nil {
		return 0, err
	}
	switch b := first[0]; {
	case b <= 0x7f, b >= 0xe0:
		return 0, nil
	case b <= 0x8f:
		return 2 * uint64(b&0x0f), nil
	case b <= 0x9f:
		return uint64(b & 0x0f), nil
	case b <= 0xbf:
		return 0, r.skip(uint64(b & 0x1f))
	case b == msgpackNever:
		return 0, errUnsupported
	default:
		return skipMsgpackFormat(r, msgpackFormats[b-0xc0])
	}
}

func skipMsgpackFormat(r *reader, format msgpackFormat) (uint64, error) {
	length, err := readMsgpackLength(r, format.lengthBytes)
	if err != nil {
		return 0, err
	}
	if format.nested > 0 {
		return format.nested * length, nil
	}
	return 0, r.skip(format.fixed + length)
}

func readMsgpackLength(r *reader, size int) (uint64, error) {
	if size == 0 {
		return 0, nil
	}
	word, err := r.bytes(size)
	if err != nil {
		return 0, err
	}
	var length uint64
	for _, b := range word {
		length = length<<8 | uint64(b)
	}
	return length, nil
}
