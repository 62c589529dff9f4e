package modelfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// Signatures of a zip archive: PyTorch, NumPy, Keras and TorchServe store models in
// archives (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, section 4.3).
const (
	zipFile    = "PK\x03\x04"
	zipEnd     = "PK\x05\x06"
	zip64Index = "PK\x06\x07"
	// zipEndSize is the size of the record at the end of an archive without its
	// comment, which has up to 64 KiB.
	zipEndSize    = 22
	maxZipComment = 1<<16 - 1
	// zip64IndexSize is the size of the record that precedes it in a large archive.
	zip64IndexSize = 20
)

// checkZip checks that an archive has its end, which lists its files: a copy that was
// interrupted has not. A file that is not an archive, such as an older one of PyTorch,
// passes.
func checkZip(r *reader) error {
	if r.size < int64(len(zipFile)) {
		return nil
	}
	start, err := r.bytes(len(zipFile))
	if err != nil || string(start) != zipFile {
		return err
	}
	tail := make([]byte, min(r.size, zipEndSize+maxZipComment+zip64IndexSize))
	if _, err := r.file.ReadAt(tail, r.size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !hasZipEnd(tail, r.size) {
		return defect("is truncated: the end of the archive, which lists its files, is missing")
	}
	return nil
}

// hasZipEnd reports whether the tail of an archive contains its last record.
func hasZipEnd(tail []byte, size int64) bool {
	for end := len(tail) - zipEndSize; end >= 0; end-- {
		record := tail[end:]
		if !bytes.HasPrefix(record, []byte(zipEnd)) || zipEndSize+int(binary.LittleEndian.Uint16(record[20:])) != len(record) {
			continue
		}
		position := size - int64(len(record))
		length, offset := binary.LittleEndian.Uint32(record[12:]), binary.LittleEndian.Uint32(record[16:])
		if offset == 1<<32-1 || length == 1<<32-1 {
			return end >= zip64IndexSize && bytes.HasPrefix(tail[end-zip64IndexSize:], []byte(zip64Index))
		}
		// An archive may follow other data, to which offsets are relative.
		return int64(offset)+int64(length) <= position
	}
	return false
}
