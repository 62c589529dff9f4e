package modelfile

import "bytes"

const (
	// pickleStart is how many bytes of a pickle show what it is.
	pickleStart = 64
	// torchMagic is the number that older versions of PyTorch write before the weights
	// (MAGIC_NUMBER in torch/serialization.py). What follows are not only pickles.
	torchMagic = "\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
)

// checkPickle checks that a pickle ends with the opcode STOP, as all do since protocol 2
// (https://github.com/python/cpython/blob/main/Lib/pickletools.py). A compressed pickle
// of joblib, and a file of another format, passes. PyTorch's archives may have the same
// names.
func checkPickle(r *reader) error {
	start, err := r.bytes(int(min(pickleStart, r.size)))
	if err != nil {
		return err
	}
	if bytes.HasPrefix(start, []byte(zipFile)) {
		r.seek(0)
		return checkZip(r)
	}
	if len(start) < 2 || start[0] != 0x80 || start[1] < 2 || start[1] > 5 || bytes.Contains(start, []byte(torchMagic)) {
		return nil
	}
	r.seek(r.size - 1)
	last, err := r.bytes(1)
	if err != nil {
		return err
	}
	if last[0] != '.' {
		return defect("is truncated: the end of the pickle is missing")
	}
	return nil
}
