package modelfile

import "slices"

// A TensorFlow Lite model is a FlatBuffer (https://flatbuffers.dev/internals/) of
// https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs.
// The library of FlatBuffers needs the whole file in memory.
const (
	tfliteIdentifier = "TFL3"
	// Numbers of the fields of the tables Model and Buffer. The data of a model of more
	// than 2 GB follows the FlatBuffer, from an offset in the file.
	modelBuffers = 4
	bufferData   = 0
	bufferOffset = 1
	bufferSize   = 2
	// maxTFLiteBuffers is how many buffers are supported: most models have less than a
	// thousand.
	maxTFLiteBuffers = 100_000
	// readsOfBuffer is how many reads the check of a buffer takes at most.
	readsOfBuffer = 4
)

// checkTFLite checks that the buffers of a model, which contain its weights, end within
// the file.
func checkTFLite(r *reader) error {
	if err := r.checkStart(); err != nil {
		return err
	}
	root, err := readTFLiteRoot(r)
	if err != nil {
		return err
	}
	model, err := readTFLiteTable(r, root)
	if err != nil || model[modelBuffers] == 0 {
		return err
	}
	buffers, err := readTFLiteBuffers(r, model[modelBuffers])
	if err != nil {
		return err
	}
	// The data of a buffer follows its table, so that the last one shows best where the
	// file ends. The tables themselves are close together if the data is elsewhere.
	slices.Sort(buffers)
	if len(buffers) > 0 {
		buffers = append([]int64{buffers[len(buffers)-1]}, buffers...)
	}
	for _, buffer := range buffers {
		if r.reads > maxReads-readsOfBuffer {
			return nil
		}
		if err := checkTFLiteBuffer(r, buffer); err != nil {
			return err
		}
	}
	return nil
}

// readTFLiteRoot returns where the table of the model is. A file without the identifier
// may be encrypted.
func readTFLiteRoot(r *reader) (int64, error) {
	if r.size < 8 {
		return 0, errUnsupported
	}
	root, err := r.uint32()
	if err != nil {
		return 0, err
	}
	identifier, err := r.bytes(len(tfliteIdentifier))
	if err == nil && string(identifier) != tfliteIdentifier {
		err = errUnsupported
	}
	return int64(root), err
}

// at sets the offset, which may be outside of the file.
func (r *reader) at(offset int64) error {
	if offset < 0 {
		return errUnsupported
	}
	if offset > r.size {
		return errTruncated
	}
	r.seek(offset)
	return nil
}

// tfliteTable is where the first fields of a table are, or 0 for those that it has not.
type tfliteTable [modelBuffers + 1]int64

func readTFLiteTable(r *reader, position int64) (tfliteTable, error) {
	var fields tfliteTable
	if err := r.at(position); err != nil {
		return fields, err
	}
	distance, err := r.uint32()
	if err != nil {
		return fields, err
	}
	// The distance is signed.
	vtable := position - int64(int32(distance))
	if err := r.at(vtable); err != nil {
		return fields, err
	}
	size, err := r.uint16()
	if err != nil {
		return fields, err
	}
	if err := r.at(vtable + 4); err != nil {
		return fields, err
	}
	for i := range min(len(fields), int(size)/2-2) {
		offset, err := r.uint16()
		if err != nil {
			return fields, err
		}
		if offset > 0 {
			fields[i] = position + int64(offset)
		}
	}
	return fields, nil
}

// follow goes to what the offset at a position refers to.
func (r *reader) follow(position int64) error {
	if err := r.at(position); err != nil {
		return err
	}
	distance, err := r.uint32()
	if err != nil {
		return err
	}
	return r.at(position + int64(distance))
}

// readTFLiteBuffers returns where the tables of the buffers are.
func readTFLiteBuffers(r *reader, position int64) ([]int64, error) {
	if err := r.follow(position); err != nil {
		return nil, err
	}
	count, err := r.uint32()
	if err != nil {
		return nil, err
	}
	if count > maxTFLiteBuffers {
		return nil, errUnsupported
	}
	var buffers []int64
	for range count {
		at := r.offset
		distance, err := r.uint32()
		if err != nil {
			return nil, err
		}
		buffers = append(buffers, at+int64(distance))
	}
	return buffers, nil
}

// checkTFLiteBuffer checks that the data of a buffer ends within the file.
func checkTFLiteBuffer(r *reader, position int64) error {
	buffer, err := readTFLiteTable(r, position)
	if err != nil {
		return err
	}
	if buffer[bufferData] > 0 {
		if err := r.follow(buffer[bufferData]); err != nil {
			return err
		}
		length, err := r.uint32()
		if err != nil {
			return err
		}
		return r.checkEnd(uint64(r.offset), uint64(length))
	}
	if buffer[bufferOffset] == 0 || buffer[bufferSize] == 0 {
		return nil
	}
	offset, err := r.uint64At(buffer[bufferOffset])
	if err != nil {
		return err
	}
	size, err := r.uint64At(buffer[bufferSize])
	if err != nil {
		return err
	}
	return r.checkEnd(offset, size)
}

func (r *reader) uint64At(position int64) (uint64, error) {
	if err := r.at(position); err != nil {
		return 0, err
	}
	return r.uint64()
}

// checkEnd checks that data ends within the file.
func (r *reader) checkEnd(offset, length uint64) error {
	if offset > maxSize/2 || length > maxSize/2 {
		return errUnsupported
	}
	if end := int64(offset + length); end > r.size {
		return truncated(r.size, end)
	}
	return nil
}
