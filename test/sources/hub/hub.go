// Package hub imitates, for tests, the hub of Hugging Face: the part of its API that lists
// and downloads the files of a repository, and the second host to which it redirects the
// download of large files. It is made from https://huggingface.co/docs/hub/api and from
// what huggingface.co answered in 2026.
package hub

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Repository is a repository of models.
type Repository struct {
	// Name is its organization and name.
	Name string
	// Commit is the only commit, and Revisions are the branches and tags that name it.
	Commit    string
	Revisions []string
	// Files are by path.
	Files map[string]File
	// Gated is true if only accounts that accepted a licence may read the files, and
	// Private if only members know that it exists. An account with access is neither of
	// them to the hub.
	Gated, Private bool
}

// File is a file of a repository.
type File struct {
	Content io.ReaderAt
	Size    int64
	// Large is true if Git LFS stores it.
	Large bool
	// OID is what the hub lists as the hash of the file; that of the content if empty.
	OID string
}

// Small returns a file that Git stores.
func Small(content string) File {
	return File{Content: strings.NewReader(content), Size: int64(len(content))}
}

// Large returns a file that Git LFS stores.
func Large(content []byte) File {
	return File{Content: bytes.NewReader(content), Size: int64(len(content)), Large: true}
}

// Request is a request that a host received.
type Request struct {
	// Host is the hub's or that of its storage.
	Host, Path, Range, Authorization, UserAgent string
}

// Hub is a hub.
type Hub struct {
	// URL is the address of the hub, and Storage that of the second host.
	URL, Storage string
	// PageSize is how many files a page of a list has.
	PageSize int

	mu       sync.Mutex
	repos    map[string]Repository
	tokens   map[string]bool
	renamed  map[string]string
	requests []Request
	signed   int
	cuts     int
	cutAfter int64
	sent     int64
	handle   func(w http.ResponseWriter, r *http.Request) bool
}

// Start starts a hub that ends with the test, at addresses of this machine only.
func Start(t *testing.T) *Hub {
	t.Helper()
	return StartAt(t, "127.0.0.1:0", "127.0.0.1:0")
}

// StartAt starts a hub at these addresses, with their ports: that of the hub and that of
// its storage.
func StartAt(t *testing.T, hub, storage string) *Hub {
	t.Helper()
	h := &Hub{PageSize: 1000, repos: map[string]Repository{}, tokens: map[string]bool{}, renamed: map[string]string{}}
	h.URL, h.Storage = serve(t, hub, h.record(h.serveHub)), serve(t, storage, h.record(h.serveStorage))
	return h
}

// serve starts a server at an address, and returns its URL.
func serve(t *testing.T, address string, handler http.Handler) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// Put adds or replaces a repository.
func (h *Hub) Put(repo Repository) {
	files := map[string]File{}
	for name, file := range repo.Files {
		file.OID = cmp.Or(file.OID, file.sum())
		files[name] = file
	}
	repo.Files = files
	h.mu.Lock()
	defer h.mu.Unlock()
	h.repos[repo.Name] = repo
}

// sum returns the hash by which Git or Git LFS identifies a file.
func (f File) sum() string {
	sum := sha256.New()
	if !f.Large {
		sum = sha1.New()
		fmt.Fprintf(sum, "blob %d\x00", f.Size)
	}
	if _, err := io.Copy(sum, io.NewSectionReader(f.Content, 0, f.Size)); err != nil {
		panic(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// AddToken adds the token of an account, which may or may not have access to private and
// gated repositories.
func (h *Hub) AddToken(token string, hasAccess bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens[token] = hasAccess
}

// Rename has the hub redirect requests for a repository to one with another name.
func (h *Hub) Rename(from, to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renamed[from] = to
}

// Instead has requests to both hosts handled by a function, if it reports that it did.
func (h *Hub) Instead(handle func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handle = handle
}

// ExpireAddresses ends the validity of the signed addresses of the storage.
func (h *Hub) ExpireAddresses() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.signed++
}

// Requests returns the requests until now.
func (h *Hub) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

func (h *Hub) record(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.requests = append(h.requests, Request{
			Host: r.Host, Path: r.URL.Path, Range: r.Header.Get("Range"), Authorization: r.Header.Get("Authorization"), UserAgent: r.UserAgent(),
		})
		handle := h.handle
		h.mu.Unlock()
		if handle == nil || !handle(w, r) {
			next(w, r)
		}
	})
}

// serveHub serves the API at /api/models/ORG/NAME/…, files at
// /ORG/NAME/resolve/COMMIT/PATH, and the content of small ones at
// /api/resolve-cache/models/ORG/NAME/COMMIT/PATH.
func (h *Hub) serveHub(w http.ResponseWriter, r *http.Request) {
	kind, elements := parse(r)
	if len(elements) < 4 {
		refuse(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
		return
	}
	name := elements[0] + "/" + elements[1]
	h.mu.Lock()
	renamed := h.renamed[name]
	h.mu.Unlock()
	if renamed != "" {
		w.Header().Set("Location", strings.Replace(r.URL.EscapedPath(), name, renamed, 1))
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	repo, ok := h.authorize(w, r, name)
	if !ok {
		return
	}
	if kind == cached {
		http.ServeContent(w, r, "", time.Time{}, repo.open(strings.Join(elements[3:], "/")))
		return
	}
	revision := elements[3]
	switch {
	case revision != repo.Commit && !slices.Contains(repo.Revisions, revision):
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
	case kind == api && elements[2] == "revision":
		reply(w, map[string]any{"id": repo.Name, "sha": repo.Commit, "gated": repo.Gated, "private": repo.Private})
	case kind == api && elements[2] == "tree":
		h.serveTree(w, r, repo)
	default:
		h.serveFile(w, repo, strings.Join(elements[4:], "/"))
	}
}

// kind is a kind of request to the hub.
type kind int

const (
	file kind = iota
	api
	cached
)

// parse returns the kind of a request, and the elements of its path from the organization
// on, or none.
func parse(r *http.Request) (kind, []string) {
	var elements []string
	for element := range strings.SplitSeq(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/") {
		unescaped, err := url.PathUnescape(element)
		if err != nil {
			return file, nil
		}
		elements = append(elements, unescaped)
	}
	switch {
	case len(elements) < 4 || elements[0] != "api":
		return file, elements
	case elements[1] == "resolve-cache":
		return cached, elements[3:]
	default:
		return api, elements[2:]
	}
}

// authorize returns a repository, or answers that the account may not read it. The API
// lists the files of gated repositories to everyone.
func (h *Hub) authorize(w http.ResponseWriter, r *http.Request, name string) (Repository, bool) {
	token, hasToken := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	h.mu.Lock()
	repo, exists := h.repos[name]
	hasAccess, isKnown := h.tokens[token]
	h.mu.Unlock()
	if hasToken && !isKnown {
		refuse(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
		return Repository{}, false
	}
	if !exists || repo.Private && !hasAccess {
		refuseHidden(w, hasToken)
		return Repository{}, false
	}
	if repo.Gated && !hasAccess && !strings.HasPrefix(r.URL.Path, "/api/models/") {
		refuseGated(w, hasToken, name)
		return Repository{}, false
	}
	return repo, true
}

func refuseHidden(w http.ResponseWriter, hasToken bool) {
	if hasToken {
		refuse(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
		return
	}
	refuse(w, http.StatusUnauthorized, "RepoNotFound", "Invalid username or password.")
}

func refuseGated(w http.ResponseWriter, hasToken bool, name string) {
	if hasToken {
		refuse(w, http.StatusForbidden, "GatedRepo", "Access to model "+name+" is restricted and you are not in the authorized list.")
		return
	}
	refuse(w, http.StatusUnauthorized, "GatedRepo", "Access to model "+name+" is restricted.")
}

// serveTree serves a page of the list of all files and directories.
func (h *Hub) serveTree(w http.ResponseWriter, r *http.Request, repo Repository) {
	names := slices.Sorted(maps.Keys(repo.Files))
	first, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	last := min(first+h.PageSize, len(names))
	entries := []map[string]any{}
	for _, name := range names[first:last] {
		file := repo.Files[name]
		entry := map[string]any{"type": "file", "path": name, "size": file.Size, "oid": file.OID}
		if file.Large {
			entry["oid"] = strings.Repeat("0", 40)
			entry["lfs"] = map[string]any{"oid": file.OID, "size": file.Size, "pointerSize": 134}
		}
		entries = append(entries, entry)
	}
	if last < len(names) {
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?recursive=true&expand=false&cursor=%d>; rel="next"`, h.URL, r.URL.EscapedPath(), last))
	}
	reply(w, entries)
}

// serveFile redirects to a path of the hub for small files, and to the storage for
// others.
func (h *Hub) serveFile(w http.ResponseWriter, repo Repository, name string) {
	file, exists := repo.Files[name]
	if !exists {
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	location := url.URL{Path: "/api/resolve-cache/models/" + repo.Name + "/" + repo.Commit + "/" + name}
	code, host := http.StatusTemporaryRedirect, ""
	if file.Large {
		h.mu.Lock()
		location = url.URL{Path: "/" + repo.Name + "/" + name, RawQuery: fmt.Sprintf("Signature=%d", h.signed)}
		h.mu.Unlock()
		code, host = http.StatusFound, h.Storage
	}
	w.Header().Set("X-Repo-Commit", repo.Commit)
	w.Header().Set("Location", host+location.String())
	w.WriteHeader(code)
}

// serveStorage serves large files to those who have a signed address. As Amazon's storage
// does, it refuses requests with other credentials too.
func (h *Hub) serveStorage(w http.ResponseWriter, r *http.Request) {
	elements := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 3)
	h.mu.Lock()
	repo := h.repos[elements[0]+"/"+elements[1]]
	isSigned := r.URL.Query().Get("Signature") == strconv.Itoa(h.signed)
	h.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "":
		http.Error(w, "Only one auth mechanism allowed", http.StatusBadRequest)
	case !isSigned:
		http.Error(w, "Request has expired", http.StatusForbidden)
	default:
		http.ServeContent(h.newMeter(w), r, "", time.Time{}, repo.open(elements[2]))
	}
}

func (r Repository) open(name string) io.ReadSeeker {
	file := r.Files[name]
	return io.NewSectionReader(file.Content, 0, file.Size)
}

func reply(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error": %q}`, message)
}

// Cut cuts the connections of the next downloads of large files, each after so many bytes
// of the content.
func (h *Hub) Cut(times int, after int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cuts, h.cutAfter = times, after
}

// Sent returns how many bytes of large files were sent.
func (h *Hub) Sent() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent
}

// meter counts what is sent, and cuts the connection after left bytes.
type meter struct {
	http.ResponseWriter
	hub  *Hub
	left int64
}

func (h *Hub) newMeter(w http.ResponseWriter) *meter {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := int64(math.MaxInt64)
	if h.cuts > 0 {
		h.cuts--
		left = h.cutAfter
	}
	return &meter{ResponseWriter: w, hub: h, left: left}
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.ResponseWriter.Write(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	m.hub.mu.Lock()
	m.hub.sent += int64(n)
	m.hub.mu.Unlock()
	if m.left == 0 {
		// What was written arrives, unlike what is behind a reset.
		_ = http.NewResponseController(m.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}
