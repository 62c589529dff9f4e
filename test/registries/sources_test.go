package registries

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/golden"
	"github.com/modelkiln/modelkiln/test/registries/content"
	"github.com/modelkiln/modelkiln/test/sources/gateway"
	"github.com/modelkiln/modelkiln/test/sources/hub"
)

// storage is where a model is stored from which the steps build. A test changes the
// files in a directory, and then publishes them.
type storage interface {
	// arguments are those of mount-check. The Secret is in secretDir.
	arguments(p *pod) []string
	// publish stores the files of a directory, and nothing else.
	publish(t *testing.T, dir string)
	// readBytes returns how much of the files was read until now; false if that is not
	// known.
	readBytes() (int64, bool)
	// cut cuts the connection of the next read of a large file.
	cut()
	// changeWhileRead changes a file of a directory, and what is stored, when the build
	// step reads it.
	changeWhileRead(t *testing.T, dir, name string)
}

// storages start each kind of storage, in the order of the table.
var storages = []struct {
	name  string
	start func(t *testing.T, secretDir string) storage
}{
	{"directory", func(*testing.T, string) storage { return directoryStorage{} }},
	{"S3 (Versity Gateway)", newGatewayStorage},
	{"Hugging Face (imitation)", newHubStorage},
}

// sourceLarge is the size of a file of which several parts are read at the same time,
// and not all at once.
const sourceLarge = 20 << 20

// sourceCell is what came of one build.
type sourceCell struct {
	outcome string
	// read is empty if that is not known.
	read, sent string
}

func (c sourceCell) String() string {
	if c.outcome != ready {
		return c.outcome
	}
	if c.read == "" {
		return fmt.Sprintf("%s, sent %s", c.outcome, c.sent)
	}
	return fmt.Sprintf("%s, read %s, sent %s", c.outcome, c.read, c.sent)
}

var sourceScenarios = []string{"first", "unchanged", "changed", "cut", "changed under the build"}

// TestSources builds from every kind of storage with both engines. The images hold
// exactly the model, or the reason is the expected one. The table is in
// api/docs/storage.md:
//
//	go test ./test/registries -run TestSources -update
func TestSources(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	rows := map[string][]sourceCell{}
	t.Run("rows", func(t *testing.T) {
		for _, s := range storages {
			for _, engine := range engines {
				t.Run(s.name+"/"+string(engine), func(t *testing.T) {
					t.Parallel()
					got := buildFrom(t, s.start, engine)
					mu.Lock()
					defer mu.Unlock()
					rows[s.name+string(engine)] = got
				})
			}
		}
	})
	if len(rows) != len(storages)*len(engines) || t.Failed() {
		return // -run has chosen some, or one has failed.
	}
	var b strings.Builder
	b.WriteString("| storage | engine | " + strings.Join(sourceScenarios, " | ") + " |\n" + strings.Repeat("|---", len(sourceScenarios)+2) + "|\n")
	for _, s := range storages {
		for _, engine := range engines {
			fmt.Fprintf(&b, "| %s | %s |", s.name, engine)
			for _, c := range rows[s.name+string(engine)] {
				fmt.Fprintf(&b, " %s |", c)
			}
			b.WriteString("\n")
		}
	}
	golden.AssertSection(t, "../../api/docs/storage.md", "<!-- begin sources -->", "<!-- end sources -->", b.String())
}

// What a download has left was copied into the storage.
func TestSourcesWithUnfinishedFiles(t *testing.T) {
	t.Parallel()
	for _, s := range storages {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, startMemory(t))
			p.secretDir = tempDir(t)
			p.storage = s.start(t, p.secretDir)
			p.write(t, "config.json", "{}")
			p.write(t, "a/weights.bin.part", "x")
			p.storage.publish(t, p.model)
			failed := p.fails(t, contract.StepMountCheck, v1alpha1.ReasonSourceIncomplete)
			assert.Contains(t, failed.Message, `"a/weights.bin.part" is a temporary file of a download`)
		})
	}
}

// buildFrom runs the builds of a row.
func buildFrom(t *testing.T, start func(t *testing.T, secretDir string) storage, engine v1alpha1.BuildEngine) []sourceCell {
	t.Helper()
	secretDir, registry := tempDir(t), startOpen(t)
	from := start(t, secretDir)
	p := newPod(t, registry)
	cells := make([]sourceCell, 0, len(sourceScenarios))
	previous := ""
	for i, scenario := range sourceScenarios {
		next := newPod(t, registry)
		next.setEngine(engine)
		next.model, next.previousImage = p.model, previous
		next.tag, next.version, next.uid = fmt.Sprint("v", i+1), fmt.Sprint("resnet-v", i+1), fmt.Sprint("uid-", i+1)
		next.storage, next.secretDir = from, secretDir
		p = next
		changeModel(t, p, scenario)
		from.publish(t, p.model)
		if scenario == "changed under the build" {
			cells = append(cells, p.buildsChanging(t))
			continue
		}
		if scenario == "cut" {
			from.cut()
		}
		cells = append(cells, p.buildsFrom(t))
		previous = registry + "/" + p.repository + "@" + content.Digest(t, p.image())
	}
	return cells
}

// changeModel changes the model of the build before.
func changeModel(t *testing.T, p *pod, scenario string) {
	t.Helper()
	switch scenario {
	case "first":
		content.WriteRandom(t, p.source("embeddings.bin"), sourceLarge)
		content.WriteRandom(t, p.source("weights.bin"), sourceLarge)
		p.write(t, "config.json", `{"layers": 2}`)
		p.write(t, "tokenizer/vocab.json", `{}`)
	case "changed", "changed under the build":
		p.rewriteWeights(t, time.Now().Add(time.Minute))
	case "cut":
		for _, name := range []string{"embeddings", "weights"} {
			require.NoError(t, os.Remove(p.source(name+".bin")))
			content.WriteRandom(t, p.source(name+"-2.bin"), sourceLarge)
			require.NoError(t, os.Rename(p.source(name+"-2.bin"), p.source(name+".bin")))
		}
	}
}

// buildsFrom runs a build that must succeed.
func (p *pod) buildsFrom(t *testing.T) sourceCell {
	t.Helper()
	before, known := p.storage.readBytes()
	left, image := p.builds(t)
	after, _ := p.storage.readBytes()
	got := sourceCell{outcome: ready, sent: sourceShare(left.Build.SentBytes)}
	if known {
		got.read = sourceShare(after - before)
	}
	_, mounted := p.storage.(directoryStorage)
	assert.Equal(t, mounted, image.Config.Labels["org.opencontainers.image.source"] == "")
	assert.Equal(t, mounted, left.Source.Digest == "")
	return got
}

// buildsChanging runs a build during which a file changes.
func (p *pod) buildsChanging(t *testing.T) sourceCell {
	t.Helper()
	code, log := p.run(t, contract.StepMountCheck)
	require.Zero(t, code, log)
	p.storage.changeWhileRead(t, p.model, "weights.bin")
	code, log = p.run(t, contract.StepBuild)
	require.Equal(t, 1, code, log)
	return sourceCell{outcome: p.report(t).Failure.Reason}
}

// sourceShare returns a part of the model in per cent, rounded.
func sourceShare(bytes int64) string { return share(float64(bytes) / (2 * sourceLarge)) }

// directoryStorage is a mounted directory.
type directoryStorage struct{}

func (directoryStorage) arguments(p *pod) []string {
	return []string{"--storage-kind=" + contract.StorageClaim, "--source=" + p.model}
}

func (directoryStorage) publish(*testing.T, string) {}
func (directoryStorage) readBytes() (int64, bool)   { return 0, false }
func (directoryStorage) cut()                       {}

func (directoryStorage) changeWhileRead(t *testing.T, dir, name string) {
	t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := time.Duration(0); ; n++ {
			select {
			case <-stop:
				return
			default:
				at := time.Now().Add(n * time.Second)
				assert.NoError(t, os.Chtimes(filepath.Join(dir, name), at, at))
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}

// gatewayStorage is a bucket, behind a proxy that counts, cuts, and tells when a file is
// read.
type gatewayStorage struct {
	gateway *gateway.Gateway
	url     string
	read    atomic.Int64
	toCut   atomic.Bool
	// onRead is called once, when a part of a file is read.
	onRead atomic.Pointer[func()]
}

const storedPrefix = "team-a/llama"

func newGatewayStorage(t *testing.T, secretDir string) storage {
	t.Helper()
	g, err := gateway.Start(t.Context(), program("versitygw"), "127.0.0.1:0", tempDir(t), tempDir(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Stop()) })
	require.NoError(t, gateway.WriteSecret(secretDir))
	target, err := url.Parse(g.Endpoint)
	require.NoError(t, err)
	s := &gatewayStorage{gateway: g}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // The signature is for this host.
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			w = &meteredResponse{ResponseWriter: w, count: &s.read, cut: strings.HasSuffix(r.URL.Path, ".bin") && s.toCut.CompareAndSwap(true, false)}
			if changes := s.onRead.Swap(nil); changes != nil {
				(*changes)()
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *gatewayStorage) arguments(p *pod) []string {
	return []string{
		"--storage-kind=" + contract.StorageS3, "--endpoint=" + s.url, "--bucket=" + gateway.Bucket, "--prefix=" + storedPrefix,
		"--allowed-s3=" + s.url, "--source-secret=s3-reader", "--source-secret-dir=" + p.secretDir,
	}
}

func (s *gatewayStorage) publish(t *testing.T, dir string) {
	t.Helper()
	for object := range s.gateway.Client.ListObjects(t.Context(), gateway.Bucket, minio.ListObjectsOptions{Prefix: storedPrefix, Recursive: true}) {
		require.NoError(t, object.Err)
		name := strings.TrimPrefix(object.Key, storedPrefix+"/")
		if raw, err := os.ReadFile(filepath.Join(dir, name)); err == nil && int64(len(raw)) == object.Size && s.stored(t, object.Key, raw) {
			continue
		}
		require.NoError(t, s.gateway.Remove(t.Context(), object.Key))
	}
	for name, entry := range content.OfDirectory(t, dir) {
		if entry.SHA256 == "" {
			continue
		}
		if _, err := s.gateway.Client.StatObject(t.Context(), gateway.Bucket, storedPrefix+"/"+name, minio.StatObjectOptions{}); err == nil {
			continue
		}
		s.put(t, dir, name)
	}
}

// stored reports whether an object has this content.
func (s *gatewayStorage) stored(t *testing.T, key string, raw []byte) bool {
	t.Helper()
	object, err := s.gateway.Client.GetObject(t.Context(), gateway.Bucket, key, minio.GetObjectOptions{})
	require.NoError(t, err)
	defer func() { _ = object.Close() }()
	var stored bytes.Buffer
	_, err = stored.ReadFrom(object)
	require.NoError(t, err)
	return bytes.Equal(raw, stored.Bytes())
}

func (s *gatewayStorage) put(t *testing.T, dir, name string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	require.NoError(t, s.gateway.Put(t.Context(), storedPrefix+"/"+name, bytes.NewReader(raw), int64(len(raw))))
}

func (s *gatewayStorage) readBytes() (int64, bool) { return s.read.Load(), true }
func (s *gatewayStorage) cut()                     { s.toCut.Store(true) }

func (s *gatewayStorage) changeWhileRead(t *testing.T, _, name string) {
	t.Helper()
	changes := func() {
		raw := bytes.Repeat([]byte("x"), sourceLarge)
		assert.NoError(t, s.gateway.Put(t.Context(), storedPrefix+"/"+name, bytes.NewReader(raw), int64(len(raw))))
	}
	s.onRead.Store(&changes)
}

// meteredResponse counts what is written, and may cut it.
type meteredResponse struct {
	http.ResponseWriter
	count *atomic.Int64
	cut   bool
	sent  int
}

func (m *meteredResponse) Write(p []byte) (int, error) {
	const cutAfter = 1 << 20
	if m.cut && m.sent+len(p) > cutAfter {
		_ = http.NewResponseController(m.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	n, err := m.ResponseWriter.Write(p)
	m.sent += n
	m.count.Add(int64(n))
	return n, err
}

// hubStorage is a repository of a hub.
type hubStorage struct {
	hub    *hub.Hub
	commit int
}

func newHubStorage(t *testing.T, secretDir string) storage {
	t.Helper()
	h := hub.Start(t)
	h.AddToken("hf-secret", true)
	require.NoError(t, os.WriteFile(filepath.Join(secretDir, "token"), []byte("hf-secret\n"), 0o600))
	return &hubStorage{hub: h}
}

const hubRepo = "team-a/llama"

func (s *hubStorage) arguments(p *pod) []string {
	return []string{
		"--storage-kind=" + contract.StorageHub, "--endpoint=" + s.hub.URL, "--repo=" + hubRepo,
		"--allowed-hugging-face=" + s.hub.URL + "," + s.hub.Storage, "--source-secret=hf-token", "--source-secret-dir=" + p.secretDir,
	}
}

func (s *hubStorage) publish(t *testing.T, dir string) {
	t.Helper()
	s.commit++
	s.put(t, dir)
}

// put stores the files of a directory in the present commit.
func (s *hubStorage) put(t *testing.T, dir string) {
	t.Helper()
	repo := hub.Repository{Name: hubRepo, Commit: fmt.Sprintf("%040x", s.commit), Revisions: []string{"main"}, Gated: true, Files: map[string]hub.File{}}
	for name, entry := range content.OfDirectory(t, dir) {
		if entry.SHA256 == "" {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		if repo.Files[name] = hub.Small(string(raw)); len(raw) > 1<<20 {
			repo.Files[name] = hub.Large(raw)
		}
	}
	s.hub.Put(repo)
}

func (s *hubStorage) readBytes() (int64, bool) { return s.hub.Sent(), true }
func (s *hubStorage) cut()                     { s.hub.Cut(1, 1<<20) }

// A commit does not change: the storage of the hub has other content than it lists.
func (s *hubStorage) changeWhileRead(t *testing.T, dir, name string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("x"), sourceLarge), 0o644))
	s.put(t, dir)
}
