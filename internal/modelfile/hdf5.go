package modelfile

// hdf5Signature is the start of the superblock of an HDF5 file
// (https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html).
const hdf5Signature = "\x89HDF\r\n\x1a\n"

// maxUserBlock is the offset up to which a superblock is searched.
const maxUserBlock = 1 << 20

// checkHDF5 compares the size of a file with the address of its end in the superblock.
// A file of another format, or of an unknown version of this one, passes.
func checkHDF5(r *reader) error {
	for at := int64(0); at <= maxUserBlock && at+int64(len(hdf5Signature))+1 <= r.size; at = max(512, 2*at) {
		r.seek(at)
		signature, err := r.bytes(len(hdf5Signature))
		if err != nil {
			return err
		}
		if string(signature) == hdf5Signature {
			return checkSuperblock(r)
		}
	}
	return nil
}

// checkSuperblock reads the superblock after its signature.
func checkSuperblock(r *reader) error {
	version, err := r.bytes(1)
	if err != nil {
		return err
	}
	// skipped are the bytes before the size of an address, and before the addresses.
	var skipped [2]uint64
	switch version[0] {
	case 0:
		skipped = [2]uint64{4, 10}
	case 1:
		skipped = [2]uint64{4, 14}
	case 2, 3:
		skipped = [2]uint64{0, 2}
	default:
		return errUnsupported
	}
	if err := r.skip(skipped[0]); err != nil {
		return err
	}
	addressSize, err := r.bytes(1)
	if err != nil {
		return err
	}
	if addressSize[0] != 8 {
		return errUnsupported
	}
	// The addresses are the base, one more, and the end of the file.
	if err := r.skip(skipped[1] + 16); err != nil {
		return err
	}
	end, err := r.uint64()
	if err != nil {
		return err
	}
	if end < 1<<62 && int64(end) > r.size {
		return truncated(r.size, int64(end))
	}
	return nil
}
