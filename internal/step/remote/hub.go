package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// maxRedirects is how many times a download is redirected. The hub redirects once or
// twice.
const maxRedirects = 5

// maxAddresses is how many addresses are remembered: more than files are read at once,
// and few, since an address can have two kilobytes.
const maxAddresses = 64

var (
	// repoName matches the name of a repository. Old ones have no organization.
	repoName = regexp.MustCompile(`\A[A-Za-z0-9][-\w.]*(/[A-Za-z0-9][-\w.]*)?\z`)
	// commitName matches a commit.
	commitName = regexp.MustCompile(`\A[0-9a-f]{40}\z`)
	// sumOfFile matches the SHA-256 of a file that Git LFS or Xet stores.
	sumOfFile = regexp.MustCompile(`\A[0-9a-f]{64}\z`)
)

// repository is a repository of a hub at a commit.
type repository struct {
	*server
	endpoint *url.URL
	repo     string
	commit   string
	token    string
	client   *http.Client

	mu sync.Mutex
	// addresses are where the hub has redirected the download of some files, by path. They
	// are signed, and valid for an hour or so.
	addresses map[string]*url.URL
}

// openHub returns the files of a repository, and resolves its revision.
func openHub(ctx context.Context, location *HuggingFace, access Access) (source.Files, error) {
	if !repoName.MatchString(location.Repo) || strings.Contains(location.Repo, "..") {
		return nil, failure.New(v1alpha1.ReasonInvalidSpec, "%q is not the name of a repository: write storage.huggingFace.repo as mistralai/Mistral-7B-v0.3", shown(location.Repo))
	}
	if err := access.HFRules.Check(location.endpoint(), location.Repo); err != nil {
		return nil, forbidden(err)
	}
	endpoint, err := parseEndpoint(location.endpoint())
	if err != nil {
		return nil, err
	}
	token, err := readSecret(access.SecretDir, "token", "HF_TOKEN")
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(access.CAFile)
	if err != nil {
		return nil, err
	}
	r := &repository{
		server: &server{
			name: "the hub " + endpoint.Host, host: endpoint.Host, secrets: func() []string { return []string{token} },
			hint: "ask the platform team to add the host to allowedHuggingFace",
		},
		endpoint: endpoint, repo: location.Repo, token: token, addresses: map[string]*url.URL{},
	}
	r.client = &http.Client{
		Transport:     newGuard(ctx, transport, access, func(to *url.URL) bool { return r.isOwn(to) || access.HFRules.AllowsRedirect(to) }),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	f := newFiles(r, r.server, transport, access.delay)
	if err := f.retry(ctx, func() error { return r.resolve(ctx, cmp.Or(location.Revision, "main")) }); err != nil {
		_ = f.Close()
		return nil, err
	}
	location.Revision = r.commit
	return f, nil
}

// isOwn reports whether an address is one of the hub itself, which gets the token.
func (r *repository) isOwn(to *url.URL) bool {
	return to.Scheme == r.endpoint.Scheme && to.Host == r.endpoint.Host
}

// resolve finds the commit of a revision. A commit is used as it is.
func (r *repository) resolve(ctx context.Context, revision string) error {
	if commitName.MatchString(revision) {
		r.commit = revision
		return nil
	}
	var answer struct {
		SHA string `json:"sha"`
	}
	if _, err := r.ask(ctx, r.api("revision", revision), func(body *json.Decoder) error { return body.Decode(&answer) }); err != nil {
		return err
	}
	if !commitName.MatchString(answer.SHA) {
		return failure.New(v1alpha1.ReasonSourceUnavailable, "%s did not answer with the commit of the revision %q: check that storage.huggingFace.endpoint is the address of a hub", r.name, shown(revision))
	}
	r.commit = answer.SHA
	return nil
}

// api returns an address of the hub's API (https://huggingface.co/docs/hub/api).
func (r *repository) api(elements ...string) *url.URL {
	for i, element := range elements {
		// A branch can have a slash in its name.
		elements[i] = url.PathEscape(element)
	}
	return r.endpoint.JoinPath("api/models", r.repo).JoinPath(elements...)
}

// ask has the answer of the API decoded, and returns the header of the response.
func (r *repository) ask(ctx context.Context, address *url.URL, decode func(body *json.Decoder) error) (http.Header, error) {
	resp, err := r.send(ctx, address, "")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case isRedirect(resp):
		return nil, r.refuseMoved(resp)
	case resp.StatusCode != http.StatusOK:
		return nil, r.refuse(resp, "")
	}
	if err := decode(json.NewDecoder(resp.Body)); err != nil {
		return nil, r.explainDecoding(ctx, err)
	}
	return resp.Header, nil
}

// send sends a request without following redirects. Only the hub gets the token.
func (r *repository) send(ctx context.Context, address *url.URL, part string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, r.unreachable(ctx, err)
	}
	if part != "" {
		req.Header.Set("Range", part)
	}
	if r.token != "" && r.isOwn(address) {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, r.unreachable(ctx, err)
	}
	return resp, nil
}

// treeEntry is an entry of the list of a repository's files.
type treeEntry struct {
	Type string `json:"type"`
	Path string `json:"path"`
	Size int64  `json:"size"`
	OID  string `json:"oid"`
	LFS  *struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	} `json:"lfs"`
}

// list lists the files of the commit. They have no time, so that a file that is the same
// in two commits is the same in their images. One without a hash is that of the commit.
func (r *repository) list(ctx context.Context, add func(object) error) error {
	identified := func(o object) error {
		if !o.dir && o.identity == "" {
			o.identity = commitIdentity + r.endpoint.JoinPath(r.repo).String() + "@" + r.commit
		}
		return add(o)
	}
	address := r.api("tree", r.commit)
	query := url.Values{"recursive": {"true"}, "expand": {"false"}}
	for query != nil {
		address.RawQuery = query.Encode()
		var entries int
		header, err := r.ask(ctx, address, func(body *json.Decoder) (err error) {
			entries, err = addPage(body, identified)
			return err
		})
		if err != nil {
			return err
		}
		// A page without entries would let the list go on forever.
		if query = nextPage(header); entries == 0 {
			return nil
		}
	}
	return nil
}

// errNoList is the error for a page that is not a list.
var errNoList = errors.New("the answer is not a list")

// addPage adds the files of a page one by one, so that the list is bounded before all of
// a page is in memory. It returns how many there are.
func addPage(body *json.Decoder, add func(object) error) (entries int, err error) {
	begin, err := body.Token()
	if err == nil && begin != json.Delim('[') {
		err = errNoList
	}
	for ; err == nil && body.More(); entries++ {
		var entry treeEntry
		if err = body.Decode(&entry); err == nil {
			err = addEntry(entry, add)
		}
	}
	if err != nil {
		return entries, err
	}
	_, err = body.Token()
	return entries, err
}

func addEntry(entry treeEntry, add func(object) error) error {
	o := object{path: entry.Path, dir: entry.Type == "directory", size: entry.Size, modTime: noTime}
	switch {
	case o.dir:
		o.size = 0
	case entry.Type != "file":
		return unsafePath(entry.Path, "is neither a file nor a directory in the repository: remove it, or exclude it")
	case entry.LFS != nil && sumOfFile.MatchString(entry.LFS.OID):
		o.size, o.identity = entry.LFS.Size, sha256Identity+entry.LFS.OID
	case entry.LFS == nil && commitName.MatchString(entry.OID):
		o.identity = gitIdentity + entry.OID
	}
	if o.size < 0 {
		return unsafePath(entry.Path, "is listed with a negative size: check the hub")
	}
	return add(o)
}

// nextLink matches the address of the next page in the header Link (RFC 8288).
var nextLink = regexp.MustCompile(`<([^>]*)>\s*;\s*rel="?next"?`)

// nextPage returns the query of the next page of a list, or nil. The address is that of
// the first page: a mirror may name the hub that it mirrors.
func nextPage(header http.Header) url.Values {
	link := nextLink.FindStringSubmatch(header.Get("Link"))
	if link == nil {
		return nil
	}
	next, err := url.Parse(link[1])
	if err != nil || next.RawQuery == "" {
		return nil
	}
	return next.Query()
}

// get reads a file from where the hub redirects the download.
func (r *repository) get(ctx context.Context, planned layer.Entry, offset, length int64) (io.ReadCloser, error) {
	resp, err := r.download(ctx, planned.Path, rangeOf(offset, length))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		defer resp.Body.Close()
		return nil, r.refuse(resp, planned.Path)
	}
	if err := r.checkPart(resp.Header, planned, offset); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

// download requests a part of a file where the hub redirected the last request for it,
// or from the hub if there was none, or if that address has expired.
func (r *repository) download(ctx context.Context, name, part string) (*http.Response, error) {
	if known := r.address(name); known != nil {
		resp, err := r.send(ctx, known, part)
		if err == nil && resp.StatusCode < http.StatusMultipleChoices {
			return resp, nil
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		r.setAddress(name, nil)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	address := r.endpoint.JoinPath(r.repo, "resolve", r.commit, escapePath(name))
	for range maxRedirects {
		resp, err := r.send(ctx, address, part)
		if err != nil || !isRedirect(resp) {
			return resp, err
		}
		_ = resp.Body.Close()
		if address, err = resp.Location(); err != nil {
			return nil, r.unreachable(ctx, err)
		}
		r.setAddress(name, address)
	}
	return nil, failure.New(v1alpha1.ReasonSourceUnavailable, "%s redirects in a loop: correct the endpoint", r.name)
}

func isRedirect(resp *http.Response) bool {
	return resp.StatusCode >= http.StatusMultipleChoices && resp.StatusCode < http.StatusBadRequest && resp.Header.Get("Location") != ""
}

func escapePath(name string) string {
	elements := strings.Split(name, "/")
	for i, element := range elements {
		elements[i] = url.PathEscape(element)
	}
	return strings.Join(elements, "/")
}

func (r *repository) address(name string) *url.URL {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addresses[name]
}

// setAddress sets the address of a file; nil removes it.
func (r *repository) setAddress(name string, address *url.URL) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if address == nil {
		delete(r.addresses, name)
		return
	}
	if len(r.addresses) >= maxAddresses {
		clear(r.addresses)
	}
	r.addresses[name] = address
}
