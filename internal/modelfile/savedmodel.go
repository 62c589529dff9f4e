package modelfile

import (
	"errors"
	"path"
	"slices"
	"strings"
)

// The files of a SavedModel, and the suffixes of those with its variables
// (https://www.tensorflow.org/guide/saved_model#the_savedmodel_format_on_disk).
const (
	savedModel      = "saved_model.pb"
	savedVariables  = "variables/variables"
	checkpointIndex = ".index"
	checkpointData  = ".data-"
)

// savedModelStart is the first field of the message SavedModel, the version 1 of its
// schema
// (https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/saved_model.proto).
const savedModelStart = "\x08\x01"

// checkSavedModel checks that the fields of a SavedModel end within the file, and that
// it has all kinds of files with variables if it has one.
func (c *checker) checkSavedModel(file File, r *reader) error {
	c.checkVariables(path.Dir(file.Path))
	if err := r.checkStart(); err != nil {
		return err
	}
	isModel, err := r.startsWith(savedModelStart)
	if err != nil || !isModel {
		return err
	}
	err = r.forEachField(r.size, func(field) error { return nil })
	if errors.Is(err, errNotProtobuf) {
		return errUnsupported
	}
	return err
}

// checkVariables checks the files with the variables of a SavedModel. Whether one of
// several is missing is checked with the other models in numbered parts.
func (c *checker) checkVariables(dir string) {
	prefix := path.Join(dir, savedVariables)
	index := prefix + checkpointIndex
	_, hasIndex := c.sizes[index]
	data, hasData := c.firstWithPrefix(prefix + checkpointData)
	switch {
	case hasIndex && !hasData:
		c.problems.add("%s… is missing, while %s exists", displayName(prefix+checkpointData), displayName(index))
	case hasData && !hasIndex:
		c.problems.add("%s is missing, while %s exists", displayName(index), displayName(data))
	}
}

// firstWithPrefix returns the first file whose path has a prefix.
func (c *checker) firstWithPrefix(prefix string) (name string, exists bool) {
	i, _ := slices.BinarySearchFunc(c.files, prefix, func(file File, prefix string) int { return strings.Compare(file.Path, prefix) })
	if i == len(c.files) || !strings.HasPrefix(c.files[i].Path, prefix) {
		return "", false
	}
	return c.files[i].Path, true
}
