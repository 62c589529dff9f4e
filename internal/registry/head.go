package registry

import (
	"net/http"
	"strconv"
	"strings"
)

// headTransport is a transport that sends a GET request for the first byte where a
// HEAD request is of no use:
//
//   - The response has no length, as gcr.io's has not
//     (https://github.com/distribution/distribution/issues/4895).
//   - The request is refused. A registry may redirect to a storage with a signature
//     that is valid for GET only. The response to GET also says why.
//
// Some registries respond to HEAD for a manifest that does not exist with 401, although
// the account has logged in, or with 412 for one that a policy holds back.
// go-containerregistry, which looks for a manifest before it pushes it, proceeds after
// 403 only.
type headTransport struct{ inner http.RoundTripper }

func (t headTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.inner.RoundTrip(req)
	if err != nil || req.Method != http.MethodHead {
		return resp, err
	}
	if hidesManifest(resp) {
		resp.StatusCode, resp.Status = http.StatusForbidden, "403 Forbidden"
		return resp, nil
	}
	if !isUselessHead(resp) {
		return resp, nil
	}
	_ = resp.Body.Close()
	get := req.Clone(req.Context())
	get.Method = http.MethodGet
	get.Header.Set("Range", "bytes=0-0")
	if resp, err = t.inner.RoundTrip(get); err != nil {
		return nil, err
	}
	resp.Request = req
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return resp, nil
	}
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusPartialContent {
		resp.ContentLength = totalLength(resp.Header.Get("Content-Range"))
	}
	resp.StatusCode, resp.Status, resp.Body = http.StatusOK, "200 OK", http.NoBody
	return resp, nil
}

// hidesManifest reports whether a registry denies access to a manifest where another
// login is of no use.
func hidesManifest(resp *http.Response) bool {
	if !strings.Contains(resp.Request.URL.Path, "/manifests/") {
		return false
	}
	loggedIn := resp.Request.Header.Get("Authorization") != "" || resp.Header.Get("WWW-Authenticate") == ""
	return resp.StatusCode == http.StatusUnauthorized && loggedIn || resp.StatusCode == http.StatusPreconditionFailed
}

// isUselessHead reports whether a response to HEAD lacks what a response to GET may
// have.
func isUselessHead(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusOK:
		return resp.ContentLength < 0
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusPreconditionFailed:
		return true
	default:
		return false
	}
}

// totalLength returns the length of the whole content from a Content-Range header, as
// in "bytes 0-0/1234", or UnknownSize.
func totalLength(contentRange string) int64 {
	_, total, _ := strings.Cut(contentRange, "/")
	if length, err := strconv.ParseInt(total, 10, 64); err == nil && length >= 0 {
		return length
	}
	return UnknownSize
}
