package remote

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/test/sources/hub"
)

const (
	repo   = "mistralai/Mistral-7B-v0.3"
	commit = "0d4b76e1efeb5eb6f6b5e757c79870472e04bd3a"
	token  = "hf_secret"
)

// weights are large enough for several parts.
var weights = random(2*partSize + 100)

// mistral returns a repository.
func mistral() hub.Repository {
	return hub.Repository{
		Name: repo, Commit: commit, Revisions: []string{"main", "refs/pr/1"},
		Files: map[string]hub.File{
			"config.json":          hub.Small(`{"a": 1}`),
			"model.bin":            hub.Large(weights),
			"sub dir/a#b?c%20d.md": hub.Small("é"),
			"empty":                hub.Small(""),
		},
	}
}

// secretDir returns the directory of a mounted Secret.
func secretDir(t *testing.T, values map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for key, value := range values {
		require.NoError(t, os.WriteFile(filepath.Join(dir, key), []byte(value), 0o600))
	}
	return dir
}

// accessTo returns access to a hub and its storage.
func accessTo(h *hub.Hub) Access {
	return Access{HFRules: sourcepolicy.HuggingFaceRules{Allowed: []string{h.URL, h.Storage}}, UserAgent: "modelkiln/test", delay: noDelay}
}

// openRepo opens the files of a repository.
func openRepo(t *testing.T, h *hub.Hub, location *HuggingFace, access Access) source.Files {
	t.Helper()
	location.Endpoint = h.URL
	opened, err := Open(t.Context(), &Location{HuggingFace: location}, access)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	return opened
}

func TestHub(t *testing.T) {
	h := hub.Start(t)
	h.Put(mistral())
	h.AddToken(token, true)
	access := accessTo(h)
	access.SecretDir = secretDir(t, map[string]string{"token": token + "\n"})
	for _, revision := range []string{"", "main", "refs/pr/1", commit} {
		t.Run("revision "+revision, func(t *testing.T) {
			location := &HuggingFace{Repo: repo, Revision: revision}
			f := openRepo(t, h, location, access)
			assert.Equal(t, commit, location.Revision)
			plan := planOf(t, f)

			assert.Equal(t, int64(4), plan.Files)
			assert.True(t, layer.HasIdentities(plan.Entries()))
			model := entryOf(t, plan, "model.bin")
			assert.Equal(t, fmt.Sprintf("sha256:%x", sha256.Sum256(weights)), model.Identity)
			assert.Zero(t, model.ModTime, "the same file has the same time in all commits")
			for name, want := range map[string]string{"config.json": `{"a": 1}`, "model.bin": string(weights), "sub dir/a#b?c%20d.md": "é", "empty": ""} {
				got, err := read(t, f, entryOf(t, plan, name), 0)
				require.NoError(t, err, name)
				assert.True(t, bytes.Equal([]byte(want), got), name)
			}
		})
	}
	for _, r := range h.Requests() {
		want := "Bearer " + token
		if "http://"+r.Host == h.Storage {
			want = ""
		}
		assert.Equal(t, want, r.Authorization, r.Path)
		assert.Equal(t, "modelkiln/test", r.UserAgent)
	}
}

// Each file that states facts is one request, after the hub has said where it is. The list
// has asked that for one of them.
func TestHubReadFacts(t *testing.T) {
	h := hub.Start(t)
	repository := mistral()
	repository.Files["README.md"] = hub.Small("---\nlicense: mit\nbase_model: acme/base\n---\n" + strings.Repeat("text ", 200_000))
	repository.Files["config.json"] = hub.Small(`{"model_type": "llama"}`)
	h.Put(repository)
	f := openRepo(t, h, &HuggingFace{Repo: repo}, accessTo(h))
	plan := planOf(t, f)
	requests := len(h.Requests())

	got, err := source.ReadFacts(t.Context(), f, plan)

	require.NoError(t, err)
	assert.Empty(t, got.Unread)
	assert.Equal(t, []v1alpha1.LineageFact{
		{Origin: v1alpha1.FileFact, Kind: v1alpha1.LicenseFact, Value: "mit", Source: "README.md"},
		{Origin: v1alpha1.FileFact, Kind: v1alpha1.BaseModelFact, Name: "acme/base", URI: "hf://acme/base", Source: "README.md"},
		{Origin: v1alpha1.FileFact, Kind: v1alpha1.PropertyFact, Name: "model-type", Value: "llama", Source: "config.json"},
	}, got.Facts)
	assert.Len(t, h.Requests(), requests+3)
}

// A commit is not resolved: later steps of a build open what the first one has kept.
func TestHubKeepsTheCommit(t *testing.T) {
	h := hub.Start(t)
	h.Put(mistral())
	location := &HuggingFace{Repo: repo}
	openRepo(t, h, location, accessTo(h))
	requests := len(h.Requests())
	moved := mistral()
	moved.Commit = strings.Repeat("a", 40)
	h.Put(moved)

	openRepo(t, h, location, accessTo(h))

	assert.Len(t, h.Requests(), requests)
	assert.Equal(t, commit, location.Revision)
}

func TestHubPages(t *testing.T) {
	h := hub.Start(t)
	h.PageSize = 2
	h.Put(mistral())
	plan := planOf(t, openRepo(t, h, &HuggingFace{Repo: repo}, accessTo(h)))
	assert.Equal(t, int64(4), plan.Files)
}

func TestNextPage(t *testing.T) {
	for link, want := range map[string]string{
		"": "", "<https://huggingface.co/x?cursor=a%3D>; rel=\"next\"": "cursor=a%3D", "</x?cursor=a&limit=1>;rel=next": "cursor=a&limit=1",
		"<https://169.254.169.254/x?cursor=a>; rel=\"next\"": "cursor=a", "</x?cursor=a>; rel=\"prev\"": "", "</x>; rel=\"next\"": "", "<:>; rel=\"next\"": "",
	} {
		assert.Equal(t, want, nextPage(http.Header{"Link": {link}}).Encode(), link)
	}
}

// A hub whose pages never end.
func TestHubPagesAreBounded(t *testing.T) {
	for name, tt := range map[string]struct{ page, says string }{
		"empty pages":          {"[]", ""},
		"the same file":        {`[{"type": "file", "path": "a", "size": 1, "oid": ""}]`, "listed twice"},
		"the same directories": {"[" + strings.Repeat(`{"type": "directory", "path": "a"},`, 9_999) + `{"type": "directory", "path": "a"}]`, "more than 200000 files and directories"},
	} {
		t.Run(name, func(t *testing.T) {
			h := hub.Start(t)
			h.Put(mistral())
			f := openRepo(t, h, &HuggingFace{Repo: repo}, accessTo(h))
			h.Instead(func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Link", `</?cursor=1>; rel="next"`)
				_, err := io.WriteString(w, tt.page)
				return err == nil
			})
			_, err := f.List(t.Context())
			if tt.says != "" {
				assertFailure(t, v1alpha1.ReasonSourceUnsafe, false, tt.says, err)
				return
			}
			require.NoError(t, err)
		})
	}
}

func TestHubRefuses(t *testing.T) {
	private, gated := mistral(), mistral()
	private.Private, gated.Gated = true, true
	respond := func(code int, header, value, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set(header, value)
			w.WriteHeader(code)
			_, err := io.WriteString(w, body)
			return err == nil
		}
	}
	const member, guest, unknown = "hf_member", "hf_guest", "hf_unknown"
	for name, tt := range map[string]struct {
		repo      hub.Repository
		token     string
		revision  string
		instead   func(http.ResponseWriter, *http.Request) bool
		reason    string
		transient bool
		says      string
	}{
		"gated, without a token":     {repo: gated, reason: v1alpha1.ReasonSourceUnauthorized, says: "is gated: accept its licence at http://127.0.0.1"},
		"gated, a guest":             {repo: gated, token: guest, reason: v1alpha1.ReasonSourceUnauthorized, says: "the account of the token has no access: accept its licence at http://127.0.0.1"},
		"private, without a token":   {repo: private, reason: v1alpha1.ReasonSourceUnauthorized, says: "or is private: correct storage.huggingFace.repo, or set tokenSecretName"},
		"private, a guest":           {repo: private, token: guest, reason: v1alpha1.ReasonSourceMissing, says: "or the account of the token may not read it"},
		"a token that is not valid":  {repo: private, token: unknown, reason: v1alpha1.ReasonSourceUnauthorized, says: "rejects the token for the repository " + repo + " (401: Invalid credentials in Authorization header)"},
		"denied, without a token":    {repo: mistral(), instead: respond(403, "X-Error-Message", "no", ""), reason: v1alpha1.ReasonSourceUnauthorized, says: "denied access to the repository " + repo + " (403: no): set storage.huggingFace.tokenSecretName"},
		"no such repository":         {repo: hub.Repository{Name: "a/b"}, token: member, reason: v1alpha1.ReasonSourceMissing, says: "does not exist at the hub 127.0.0.1"},
		"no such branch":             {repo: mistral(), revision: "other", reason: v1alpha1.ReasonSourceMissing, says: "has no such revision: correct storage.huggingFace.revision"},
		"no such commit":             {repo: mistral(), revision: strings.Repeat("a", 40), reason: v1alpha1.ReasonSourceMissing, says: "has no such revision"},
		"a repository that is gone":  {repo: mistral(), instead: respond(403, "X-Error-Code", "DisabledRepo", ""), reason: v1alpha1.ReasonSourceUnauthorized, says: "has disabled the repository"},
		"too many requests":          {repo: mistral(), instead: respond(429, "X-Error-Message", "Slow down", ""), reason: v1alpha1.ReasonRateLimited, transient: true, says: "is rate limiting requests (429 Too Many Requests: Slow down): wait"},
		"a server error":             {repo: mistral(), instead: respond(502, "X", "", ""), reason: v1alpha1.ReasonSourceUnavailable, transient: true, says: "responded with the error 502 Bad Gateway"},
		"another error":              {repo: mistral(), instead: respond(418, "X-Error-Message", "at http://a/?token=b with "+member, ""), token: member, reason: v1alpha1.ReasonSourceUnavailable, says: "at http://a/?*** with ***"},
		"not a hub":                  {repo: mistral(), instead: respond(200, "Content-Type", "text/html", "<html>"), reason: v1alpha1.ReasonSourceUnavailable, says: "did not answer as a hub does"},
		"an API of something else":   {repo: mistral(), instead: respond(200, "Content-Type", "application/json", "{}"), reason: v1alpha1.ReasonSourceUnavailable, says: `did not answer with the commit of the revision "main"`},
		"an answer without an end":   {repo: mistral(), instead: respond(200, "Content-Type", "application/json", strings.Repeat(" ", maxResponse+1)), reason: v1alpha1.ReasonSourceUnavailable, says: "sent an answer that is too long"},
		"a list that is none":        {repo: mistral(), revision: commit, instead: respond(200, "Content-Type", "application/json", `{"error": "x"}`), reason: v1alpha1.ReasonSourceUnavailable, says: "did not answer as a hub does"},
		"a list of something else":   {repo: mistral(), revision: commit, instead: respond(200, "Content-Type", "application/json", "[1]"), reason: v1alpha1.ReasonSourceUnavailable, says: "did not answer as a hub does"},
		"a cut list":                 {repo: mistral(), revision: commit, instead: respond(200, "Content-Length", "10", "["), reason: v1alpha1.ReasonSourceUnavailable, transient: true, says: "connection failed: "},
		"a cut answer":               {repo: mistral(), instead: respond(200, "Content-Length", "10", "{"), reason: v1alpha1.ReasonSourceUnavailable, transient: true, says: "connection failed: "},
		"a server without this path": {repo: mistral(), instead: respond(404, "Content-Type", "text/html", ""), token: member, reason: v1alpha1.ReasonSourceMissing, says: "does not exist at the hub"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hub.Start(t)
			h.Put(tt.repo)
			h.AddToken(member, true)
			h.AddToken(guest, false)
			h.Instead(tt.instead)
			access := accessTo(h)
			if tt.token != "" {
				access.SecretDir = secretDir(t, map[string]string{"HF_TOKEN": tt.token})
			}
			_, err := openAndList(t, &HuggingFace{Endpoint: h.URL, Repo: repo, Revision: tt.revision}, access)
			assertFailure(t, tt.reason, tt.transient, tt.says, err)
			for _, secret := range []string{member, guest, unknown} {
				assert.NotContains(t, err.Error(), secret)
			}
		})
	}
}

// openAndList opens and lists a repository.
func openAndList(t *testing.T, location *HuggingFace, access Access) ([]layer.SourceEntry, error) {
	t.Helper()
	opened, err := Open(t.Context(), &Location{HuggingFace: location}, access)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	return opened.List(t.Context())
}

// The hub refuses to list its files in the same words as its models.
func TestHubHasOnlySafeFiles(t *testing.T) {
	for name, tt := range map[string]struct{ entry, says string }{
		"a parent directory":      {`{"type": "file", "path": "../a", "oid": ""}`, "no file can have"},
		"a submodule":             {`{"type": "commit", "path": "a", "oid": ""}`, "neither a file nor a directory"},
		"a negative size":         {`{"type": "file", "path": "a", "size": -1}`, "negative size"},
		"a negative size in LFS":  {`{"type": "file", "path": "a", "lfs": {"oid": "` + strings.Repeat("a", 64) + `", "size": -1}}`, "negative size"},
		"a file in another file":  {`{"type": "file", "path": "a"}, {"type": "file", "path": "a/b"}`, "both a file and a directory"},
		"a directory that is one": {`{"type": "file", "path": "a"}, {"type": "directory", "path": "a"}`, "both a file and a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			h := hub.Start(t)
			h.Instead(func(w http.ResponseWriter, _ *http.Request) bool {
				_, err := io.WriteString(w, "["+tt.entry+"]")
				return err == nil
			})
			_, err := openAndList(t, &HuggingFace{Endpoint: h.URL, Repo: repo, Revision: commit}, accessTo(h))
			assertFailure(t, v1alpha1.ReasonSourceUnsafe, false, tt.says, err)
		})
	}
}

// The sums of files that a hub does not list, or not as hashes, are not compared. Such a
// file is not taken for that of another commit.
func TestHubWithoutHashes(t *testing.T) {
	h := hub.Start(t)
	h.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/tree/") {
			_, err := io.WriteString(w, "a")
			return err == nil
		}
		_, err := io.WriteString(w, `[{"type": "directory", "path": "d"}, {"type": "file", "path": "a", "size": 1, "oid": "x"}, {"type": "file", "path": "b", "size": 1, "oid": "`+commit+`", "lfs": {"oid": "x", "size": 1}}]`)
		return err == nil
	})
	listed, err := openAndList(t, &HuggingFace{Endpoint: h.URL, Repo: repo, Revision: commit}, accessTo(h))
	require.NoError(t, err)
	assert.Len(t, listed, 4)
	for _, e := range listed {
		want := ""
		if e.Mode.IsRegular() {
			want = "commit:" + h.URL + "/" + repo + "@" + commit
		}
		assert.Equal(t, want, e.Identity, e.Path)
	}
}

// Neither the API nor a download is followed to a host that is not allowed.
func TestHubDoesNotFollow(t *testing.T) {
	var contacted atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { contacted.Add(1) }))
	t.Cleanup(other.Close)
	h := hub.Start(t)
	h.Put(mistral())

	access := accessTo(h)
	access.HFRules.Allowed = []string{h.URL}
	_, err := openAndList(t, &HuggingFace{Endpoint: h.URL, Repo: repo}, access)
	require.NoError(t, err, "the first file is small")
	f := openRepo(t, h, &HuggingFace{Repo: repo}, access)
	_, err = read(t, f, layer.Entry{Path: "model.bin", Type: layer.File, Size: int64(len(weights))}, 0)
	assertFailure(t, v1alpha1.ReasonSourceForbidden, false, fmt.Sprintf("redirects the build to %s, which this cluster does not allow: ask the platform team", h.Storage), err)

	for name, location := range map[string]string{"another host": other.URL, "the same host by HTTPS": strings.Replace(h.URL, "http:", "https:", 1), "an address without a host": "http:///x", "a file": "file:///etc/passwd"} {
		t.Run(name, func(t *testing.T) {
			h.Instead(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/resolve/") {
					w.Header().Set("Location", location+"?Signature=s3cr3t")
					w.WriteHeader(http.StatusFound)
				}
				return strings.Contains(r.URL.Path, "/resolve/")
			})
			_, err := openAndList(t, &HuggingFace{Endpoint: h.URL, Repo: repo}, access)
			assertFailure(t, v1alpha1.ReasonSourceForbidden, false, "which this cluster does not allow", err)
			assert.NotContains(t, err.Error(), "s3cr3t")
		})
	}
	h.Instead(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Location", other.URL+"/signed-path")
		w.WriteHeader(http.StatusFound)
		return true
	})
	_, err = openAndList(t, &HuggingFace{Endpoint: h.URL, Repo: repo}, access)
	assertFailure(t, v1alpha1.ReasonSourceUnavailable, false, fmt.Sprintf("redirects the build to %q: write the address of the hub itself", other.URL), err)
	assert.Zero(t, contacted.Load())
}

// A renamed repository is another one to the rules.
func TestHubRenamed(t *testing.T) {
	h := hub.Start(t)
	h.Put(mistral())
	h.Rename("old/name", repo)
	for _, revision := range []string{"main", commit} {
		_, err := openAndList(t, &HuggingFace{Endpoint: h.URL, Repo: "old/name", Revision: revision}, accessTo(h))
		assertFailure(t, v1alpha1.ReasonSourceMissing, false, "the repository old/name was renamed to "+repo+": write this name as storage.huggingFace.repo", err)
	}
}

func TestHubRedirectsInALoop(t *testing.T) {
	h := hub.Start(t)
	h.Put(mistral())
	h.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/api/models/") {
			w.Header().Set("Location", r.URL.Path)
			w.WriteHeader(http.StatusFound)
			return true
		}
		return false
	})
	_, err := openAndList(t, &HuggingFace{Endpoint: h.URL, Repo: repo}, accessTo(h))
	assertFailure(t, v1alpha1.ReasonSourceUnavailable, false, "redirects in a loop", err)
}

// resolved counts the requests that resolve the address of a file.
func resolved(h *hub.Hub, name string) (count int) {
	for _, r := range h.Requests() {
		if strings.HasSuffix(r.Path, "/resolve/"+commit+"/"+name) {
			count++
		}
	}
	return count
}

func TestHubResolvesAgainWhenAnAddressHasExpired(t *testing.T) {
	h := hub.Start(t)
	big := mistral()
	big.Files["model.bin"] = hub.Large(random(20 * partSize))
	h.Put(big)
	f := openRepo(t, h, &HuggingFace{Repo: repo}, accessTo(h))
	entry := entryOf(t, planOf(t, f), "model.bin")

	_, err := read(t, f, entry, 0)
	require.NoError(t, err)
	first := resolved(h, "model.bin")
	assert.LessOrEqual(t, first, parallel, "the address is used again")

	h.ExpireAddresses()
	_, err = read(t, f, entry, 0)
	require.NoError(t, err)
	assert.LessOrEqual(t, resolved(h, "model.bin")-first, parallel)
}

func TestHubRemembersFewAddresses(t *testing.T) {
	r := &repository{addresses: map[string]*url.URL{}}
	for n := range 3 * maxAddresses {
		name := strconv.Itoa(n)
		r.setAddress(name, &url.URL{Path: name})
		assert.Equal(t, name, r.address(name).Path)
		assert.LessOrEqual(t, len(r.addresses), maxAddresses)
	}
}

func TestHubStorageThatDenies(t *testing.T) {
	h := hub.Start(t)
	h.Put(mistral())
	f := openRepo(t, h, &HuggingFace{Repo: repo}, accessTo(h))
	entry := entryOf(t, planOf(t, f), "model.bin")
	h.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		if "http://"+r.Host != h.Storage {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	_, err := read(t, f, entry, 0)
	assertFailure(t, v1alpha1.ReasonSourceUnavailable, true, "the host "+strings.TrimPrefix(h.Storage, "http://")+", to which the hub ", err)
	assert.NotContains(t, err.Error(), "Signature")
}

func TestHubResumes(t *testing.T) {
	h := hub.Start(t)
	h.Put(mistral())
	f := openRepo(t, h, &HuggingFace{Repo: repo}, accessTo(h))
	entry := entryOf(t, planOf(t, f), "model.bin")
	before := h.Sent()
	const cuts = 4
	h.Cut(cuts, 1<<20)

	got, err := read(t, f, entry, 0)

	require.NoError(t, err)
	assert.True(t, bytes.Equal(weights, got))
	// What was sent before a cut is not sent again, but what is in buffers is lost.
	assert.LessOrEqual(t, h.Sent()-before, int64(len(weights)+cuts<<20))
}

// A connection that stays silent is given up.
func TestHubFallsSilent(t *testing.T) {
	h := hub.Start(t)
	h.Put(mistral())
	access := accessTo(h)
	access.idle = 50 * time.Millisecond
	f := openRepo(t, h, &HuggingFace{Repo: repo}, access)
	entry := entryOf(t, planOf(t, f), "model.bin")
	for name, silent := range map[string]func(w http.ResponseWriter){
		"before the response": func(http.ResponseWriter) {},
		"in the response": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", strconv.Itoa(len(weights)))
			_, _ = w.Write(weights[:100])
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			var once atomic.Bool
			h.Instead(func(w http.ResponseWriter, r *http.Request) bool {
				if "http://"+r.Host != h.Storage || !strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") || once.Swap(true) {
					return false
				}
				silent(w)
				<-r.Context().Done()
				panic(http.ErrAbortHandler)
			})
			got, err := read(t, f, entry, 0)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(weights, got))
			assert.True(t, once.Load())
		})
	}
}

// A build sends several layers at once.
func TestHubReadsAtOnce(t *testing.T) {
	h := hub.Start(t)
	h.Put(mistral())
	f := openRepo(t, h, &HuggingFace{Repo: repo}, accessTo(h))
	entry := entryOf(t, planOf(t, f), "model.bin")
	h.Cut(5, 100_000)
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			opened, err := f.Open(t.Context(), entry, 0)
			if err != nil {
				return err
			}
			got, err := io.ReadAll(opened)
			if err == nil && !bytes.Equal(weights, got) {
				err = errors.New("other content")
			}
			return errors.Join(err, opened.Close())
		})
	}
	require.NoError(t, group.Wait())
}

func TestHubFilesThatChange(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(files map[string]hub.File)
		says   string
	}{
		"other content": {func(files map[string]hub.File) { files["model.bin"] = hub.Large(random(len(weights) + 1)[1:]) }, "is not the file that its store lists"},
		"another size":  {func(files map[string]hub.File) { files["model.bin"] = hub.Large(weights[1:]) }, `"model.bin" changed while it was packaged`},
		"no file":       {func(files map[string]hub.File) { delete(files, "model.bin") }, `"model.bin" changed while it was packaged`},
	} {
		t.Run(name, func(t *testing.T) {
			h := hub.Start(t)
			h.Put(mistral())
			f := openRepo(t, h, &HuggingFace{Repo: repo}, accessTo(h))
			entry := entryOf(t, planOf(t, f), "model.bin")
			changed := mistral()
			tt.change(changed.Files)
			h.Put(changed)
			_, err := read(t, f, entry, 0)
			assertFailure(t, v1alpha1.ReasonSourceChanging, false, tt.says, err)
		})
	}
}

func TestHubUnreachable(t *testing.T) {
	stopped := httptest.NewServer(http.NotFoundHandler())
	stopped.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	// It would log that the client refuses its certificate.
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for name, tt := range map[string]struct {
		endpoint, reason string
		transient        bool
		says             string
	}{
		"refused":         {stopped.URL, v1alpha1.ReasonSourceUnavailable, true, "refused the connection: correct the host and port"},
		"not trusted":     {secure.URL, v1alpha1.ReasonSourceUnavailable, false, "presented a certificate from an unknown authority: add"},
		"plain HTTP":      {strings.Replace(plain.URL, "http", "https", 1), v1alpha1.ReasonSourceUnavailable, false, "uses plain HTTP instead of HTTPS"},
		"another program": {plain.URL, v1alpha1.ReasonSourceUnauthorized, false, "does not exist at the hub"},
	} {
		t.Run(name, func(t *testing.T) {
			access := Access{HFRules: sourcepolicy.HuggingFaceRules{Allowed: []string{strings.TrimPrefix(tt.endpoint, "https://")}}, delay: noDelay}
			_, err := Open(t.Context(), &Location{HuggingFace: &HuggingFace{Endpoint: tt.endpoint, Repo: repo}}, access)
			assertFailure(t, tt.reason, tt.transient, tt.says, err)
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		header http.Header
		want   time.Duration
	}{
		"nothing":            {http.Header{}, 0},
		"seconds":            {http.Header{"Retry-After": {"7"}}, 7 * time.Second},
		"many seconds":       {http.Header{"Retry-After": {"99999999"}}, maxRetryAfter},
		"too many seconds":   {http.Header{"Retry-After": {"99999999999999999999"}}, 0},
		"a limit's reset":    {http.Header{"Ratelimit": {`"resolvers";r=0;t=55`}}, 55 * time.Second},
		"a time in the past": {http.Header{"Retry-After": {"Mon, 02 Jan 2006 15:04:05 GMT"}}, 0},
		"words":              {http.Header{"Retry-After": {"later"}}, 0},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, max(0, retryAfter(tt.header))) })
	}
}

// The hub says when a limit ends.
func TestHubWaits(t *testing.T) {
	h := hub.Start(t)
	h.Put(mistral())
	var refused atomic.Bool
	h.Instead(func(w http.ResponseWriter, _ *http.Request) bool {
		if refused.Swap(true) {
			return false
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	began := time.Now()
	_, err := openAndList(t, &HuggingFace{Endpoint: h.URL, Repo: repo}, accessTo(h))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, time.Since(began), time.Second)
}

func TestHubIsCheckedForCompleteness(t *testing.T) {
	h := hub.Start(t)
	incomplete := mistral()
	incomplete.Files["model.safetensors.index.json"] = hub.Small(`{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}`)
	incomplete.Files["1.safetensors"] = hub.Small("\x02\x00\x00\x00\x00\x00\x00\x00{}")
	h.Put(incomplete)
	f := openRepo(t, h, &HuggingFace{Repo: repo}, accessTo(h))
	err := source.CheckComplete(t.Context(), f, planOf(t, f))
	assertFailure(t, v1alpha1.ReasonSourceIncomplete, false, "2.safetensors", err)
}
