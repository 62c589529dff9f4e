package modelfile

import (
	"encoding/xml"
	"errors"
	"io"
	"path"
	"strings"
)

// maxXML is the size in bytes up to which XML is read: the topology of a large language
// model has about 10 MB. The decoder holds one tag at a time in memory, with all of its
// attributes, which have maxTag bytes.
const (
	maxXML = 32 << 20
	maxTag = 1 << 20
)

// tags is XML whose tags, and the text between two of them, are of limited length.
type tags struct {
	*reader
	// length is that of the present one so far.
	length int
}

func (t *tags) Read(into []byte) (int, error) {
	n, err := t.reader.Read(into)
	for _, b := range into[:n] {
		if t.length++; b == '<' {
			t.length = 0
		}
		if t.length > maxTag {
			return 0, errUnsupported
		}
	}
	return n, err
}

// checkOpenVINO reads how many bytes a model of OpenVINO needs of its weights, which are
// in a file of the same name
// (https://docs.openvino.ai/2025/documentation/openvino-ir-format.html). XML of other
// programs passes.
func (c *checker) checkOpenVINO(file File, r *reader) error {
	if r.size > maxXML {
		return errUnsupported
	}
	var found topology
	if err := found.readAll(r); err != nil {
		return err
	}
	switch {
	case !found.isNet:
		return errUnsupported
	case !found.ended:
		return defect("is truncated: it is XML that ends before its last element")
	case found.weights > 0:
		name := strings.TrimSuffix(file.Path, path.Ext(file.Path)) + ".bin"
		return c.addList(list{file: file, needs: references{name: found.weights}, excuse: c.excuseOpenVINO})
	}
	return nil
}

// topology is what the elements of a model say.
type topology struct {
	// isNet is whether the first element is that of a model, and ended whether it has
	// ended.
	isNet, ended bool
	// isConstant is whether the current layer contains weights.
	isConstant bool
	// weights is where the last weights end.
	weights int64
}

// readAll reads a file, to its end if it is truncated.
func (t *topology) readAll(r *reader) error {
	decoder := xml.NewDecoder(&tags{reader: r})
	for {
		token, err := decoder.RawToken()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case r.failed != nil:
			return r.failed
		case err != nil && t.isNet && decoder.InputOffset() == r.size:
			return nil
		case err != nil:
			return errUnsupported
		}
		if err := t.read(token); err != nil {
			return err
		}
	}
}

func (t *topology) read(token xml.Token) error {
	switch token := token.(type) {
	case xml.StartElement:
		return t.readStart(token)
	case xml.EndElement:
		t.ended = token.Name.Local == "net"
	}
	return nil
}

func (t *topology) readStart(element xml.StartElement) error {
	name := element.Name.Local
	if !t.isNet && name != "net" {
		return errUnsupported
	}
	t.isNet = true
	attributes := map[string]string{}
	for _, attribute := range element.Attr {
		attributes[attribute.Name.Local] = attribute.Value
	}
	switch {
	case name == "layer":
		t.isConstant = attributes["type"] == "Const"
	case name == "data" && t.isConstant, name == "weights", name == "biases":
		if size := parseNumber(attributes["size"]); size > 0 {
			t.weights = max(t.weights, parseNumber(attributes["offset"])+size)
		}
	}
	return nil
}

// excuseOpenVINO returns the missing weights of a model. Programs may be given a file of
// another name in the same directory, and users exclude all .bin files from a download
// because they want another format.
func (c *checker) excuseOpenVINO(l list) []string {
	if c.weights.hasOtherFormat(l.file.Path) || c.hasStrayBin(path.Dir(l.file.Path)) {
		return nil
	}
	return l.missing
}

// hasStrayBin reports whether a directory has a .bin file that belongs to no .xml file.
func (c *checker) hasStrayBin(dir string) bool {
	if c.strayBins == nil {
		c.strayBins = map[string]bool{}
		for _, file := range c.files {
			model, isBin := strings.CutSuffix(file.Path, ".bin")
			if _, belongs := c.sizes[model+".xml"]; isBin && !belongs && file.Size > 0 {
				c.strayBins[path.Dir(file.Path)] = true
			}
		}
	}
	return c.strayBins[dir]
}
