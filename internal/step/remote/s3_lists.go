package remote

import (
	"bytes"
	"io"
	"net/http"
	"sync/atomic"
)

const (
	// maxPages is how many pages of lists are read: 200 have as many objects as a model may
	// have files, if all are full. A server could send empty ones forever.
	maxPages = 5000
	// maxTags is how many tags are read of a page: 65 for each of 1,000 objects, which is
	// more than twice of what is known. The library decodes eleven bytes, <Contents/>, into
	// two kilobytes.
	maxTags = 65_000
)

// lists is a transport that limits the lists of objects that are read.
type lists struct {
	inner http.RoundTripper
	pages atomic.Int32
}

func (l *lists) RoundTrip(req *http.Request) (*http.Response, error) {
	if !req.URL.Query().Has("list-type") {
		return l.inner.RoundTrip(req)
	}
	if l.pages.Add(1) > maxPages {
		return nil, errTooLong
	}
	resp, err := l.inner.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &limitedXML{ReadCloser: resp.Body, left: maxTags}
	return resp, nil
}

// limitedXML is XML of which a limited number of tags is read.
type limitedXML struct {
	io.ReadCloser
	left int
}

func (x *limitedXML) Read(p []byte) (int, error) {
	n, err := x.ReadCloser.Read(p)
	if x.left -= bytes.Count(p[:n], []byte("<")); x.left < 0 {
		return 0, errTooLong
	}
	return n, err
}
