package modelfile

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

const (
	// maxJSON is the longest text in bytes that is read: ten times the index of a model
	// with 280,000 tensors.
	maxJSON = 256 << 20
	// maxToken is the longest string, number or run of white space in bytes. Training
	// tools write pictures and statistics of several MB into the metadata of a model.
	maxToken = 16 << 20
	// maxDepth is how deep objects and arrays may be nested.
	maxDepth = 1000
)

// newJSON returns a decoder of a text that a Python program may have written. It holds
// one token at a time in memory.
func newJSON(text io.Reader) *json.Decoder {
	decoder := json.NewDecoder(&pythonJSON{text: text})
	decoder.UseNumber()
	return decoder
}

// pythonJSON replaces the numbers NaN, Infinity and -Infinity by others. They are not
// JSON, but Python's json module writes and reads them
// (https://docs.python.org/3/library/json.html#infinite-and-nan-number-values).
type pythonJSON struct {
	text                         io.Reader
	inString, escaped, inLiteral bool
	// token is the length of the current token.
	token int
}

func (p *pythonJSON) Read(into []byte) (int, error) {
	n, err := p.text.Read(into)
	for i, b := range into[:n] {
		if p.token++; p.token > maxToken {
			return 0, errUnsupported
		}
		if p.inString {
			p.readString(b)
		} else {
			into[i] = p.readValue(b)
		}
	}
	return n, err
}

func (p *pythonJSON) readString(b byte) {
	switch {
	case p.escaped:
		p.escaped = false
	case b == '\\':
		p.escaped = true
	case b == '"':
		p.inString, p.token = false, 0
	}
}

// readValue returns what is passed on for a byte outside of a string: digits for the
// letters of NaN and Infinity.
func (p *pythonJSON) readValue(b byte) byte {
	isLetter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
	if p.inLiteral && isLetter {
		return '0'
	}
	if p.inLiteral = b == 'N' || b == 'I'; p.inLiteral {
		return '1'
	}
	if strings.IndexByte(`"{}[],:`, b) >= 0 {
		p.token = 0
	}
	p.inString = b == '"'
	return b
}

// forEachMember calls visit before the value of each member of an object. visit must
// read the value.
func forEachMember(decoder *json.Decoder, visit func(name string) error) error {
	return forEach(decoder, '{', func() error {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		return visit(name)
	})
}

// forEachElement calls visit before each element of an array. visit must read it.
func forEachElement(decoder *json.Decoder, visit func() error) error {
	return forEach(decoder, '[', visit)
}

// forEach calls visit before each part of a value that starts with open. Any other
// value is not supported.
func forEach(decoder *json.Decoder, open json.Delim, visit func() error) error {
	first, err := decoder.Token()
	if err != nil {
		return err
	}
	if first != open {
		return errUnsupported
	}
	for decoder.More() {
		if err := visit(); err != nil {
			return err
		}
	}
	_, err = decoder.Token()
	return err
}

// readText reads a string. Any other value is not supported.
func readText(decoder *json.Decoder) (string, error) {
	token, err := decoder.Token()
	if err != nil {
		return "", err
	}
	if text, ok := token.(string); ok {
		return text, nil
	}
	return "", errUnsupported
}

// readNumber reads an integer. Any other value is not supported.
func readNumber(decoder *json.Decoder) (int64, error) {
	token, err := decoder.Token()
	if err != nil {
		return 0, err
	}
	if number, ok := token.(json.Number); ok {
		if n, err := number.Int64(); err == nil {
			return n, nil
		}
	}
	return 0, errUnsupported
}

// skipValue skips a value.
func skipValue(decoder *json.Decoder) error {
	depth := 0
	for {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
		if depth > maxDepth {
			return errUnsupported
		}
	}
}

// isCut reports whether an error of a decoder means that the text ends too early.
func isCut(err error) bool {
	return !errors.Is(err, errShrunk) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
}

// isMalformed reports whether an error of a decoder means that the text is not JSON.
func isMalformed(err error) bool {
	var syntax *json.SyntaxError
	return isCut(err) || errors.As(err, &syntax)
}

// checkJSON checks that a text does not end before its first object or array does.
func checkJSON(r *reader) error {
	if r.size > maxJSON {
		return errUnsupported
	}
	decoder := newJSON(r)
	return jsonDefect(decoder, skipValue(decoder))
}

// jsonDefect returns the defect of a text that ends too early. Text that is malformed
// otherwise, such as JSON with comments, and text that is none, is not supported.
func jsonDefect(decoder *json.Decoder, err error) error {
	switch {
	case isCut(err) && decoder.InputOffset() > 0:
		return defect("is truncated: it is JSON that ends in the middle of a value")
	case isMalformed(err):
		return errUnsupported
	}
	return err
}
