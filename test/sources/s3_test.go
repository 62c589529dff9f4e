package sources

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/remote"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/test/sources/gateway"
)

// weights returns what has several parts, and is uploaded in several parts too.
func weights() []byte { return random(20<<20 + 3) }

// random returns bytes that are the same in each run.
func random(size int) []byte {
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
	return content
}

// open opens the model at an endpoint.
func open(t *testing.T, endpoint string) source.Files {
	t.Helper()
	files, err := remote.Open(t.Context(), location(endpoint), access(t, endpoint, gateway.AccessKey, gateway.SecretKey))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, files.Close()) })
	return files
}

// plan plans what is listed, and returns the files by path.
func plan(t *testing.T, files source.Files) (layer.Plan, map[string]layer.Entry) {
	t.Helper()
	listed, err := files.List(t.Context())
	require.NoError(t, err)
	planned, err := layer.NewPlan(listed)
	require.NoError(t, err)
	entries := map[string]layer.Entry{}
	for _, entry := range planned.Entries() {
		entries[entry.Path] = entry
	}
	return planned, entries
}

func read(t *testing.T, files source.Files, planned layer.Entry, offset int64) ([]byte, error) {
	t.Helper()
	opened, err := files.Open(t.Context(), planned, offset)
	require.NoError(t, err)
	content, err := io.ReadAll(opened)
	require.NoError(t, opened.Close())
	return content, err
}

func assertReason(t *testing.T, want, says string, err error) {
	t.Helper()
	var f *failure.Error
	require.ErrorAs(t, err, &f)
	assert.Equal(t, want, f.Reason, f.Message)
	assert.Contains(t, f.Message, says)
	assert.NotContains(t, err.Error(), gateway.SecretKey)
}

func TestRead(t *testing.T) {
	t.Parallel()
	g := start(t)
	content := map[string][]byte{
		"config.json": []byte(`{"model_type": "llama"}`), "README.md": []byte("---\nlicense: mit\n---\n"), "model.bin": weights(), "a b/c+d%20e&f=g.txt": []byte("é"), "ü/模.json": []byte("{}"), "empty": {},
	}
	for name, c := range content {
		g.put(t, name, c)
	}
	files := open(t, g.Endpoint)
	planned, entries := plan(t, files)

	assert.Equal(t, int64(len(content)), planned.Files)
	assert.True(t, layer.HasIdentities(planned.Entries()))
	for name, want := range content {
		for _, offset := range []int{0, len(want) / 3, len(want)} {
			got, err := read(t, files, entries[name], int64(offset))
			require.NoError(t, err, name)
			assert.True(t, bytes.Equal(want[offset:], got), name)
		}
	}
	require.NoError(t, source.CheckComplete(t.Context(), files, planned))
	facts, err := source.ReadFacts(t.Context(), files, planned)
	require.NoError(t, err)
	assert.Equal(t, []v1alpha1.LineageFact{
		{Origin: v1alpha1.FileFact, Kind: v1alpha1.LicenseFact, Value: "mit", Source: "README.md"},
		{Origin: v1alpha1.FileFact, Kind: v1alpha1.PropertyFact, Name: "model-type", Value: "llama", Source: "config.json"},
	}, facts.Facts)

	// What did not change is the same, and what is written again is not.
	again, _ := plan(t, open(t, g.Endpoint))
	assert.Equal(t, layer.StatDigest(planned.Entries()), layer.StatDigest(again.Entries()))
	g.put(t, "config.json", []byte(`[]`))
	changed, _ := plan(t, open(t, g.Endpoint))
	assert.NotEqual(t, layer.StatDigest(planned.Entries()), layer.StatDigest(changed.Entries()))
}

// A layer of several files is read from an offset on when its upload is resumed.
func TestReadAsAnArchive(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.put(t, "a.bin", random(5<<20))
	g.put(t, "b.bin", random(100))
	files := open(t, g.Endpoint)
	planned, _ := plan(t, files)
	layout, err := layer.NewArchive(planned.ModelDir(), planned.Layers[0])
	require.NoError(t, err)
	archive := source.Archive{Files: files, Layout: layout}
	readFrom := func(offset int64) []byte {
		opened := archive.Open(t.Context(), offset)
		content, err := io.ReadAll(opened)
		require.NoError(t, err)
		require.NoError(t, opened.Close())
		return content
	}
	whole := readFrom(0)
	assert.Len(t, whole, int(archive.Size()))
	for _, offset := range []int{1, 4 << 20, 5<<20 + 3000, len(whole)} {
		assert.True(t, bytes.Equal(whole[offset:], readFrom(int64(offset))), offset)
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.put(t, "model.bin", weights())
	c := startCutter(t, g)
	files := open(t, c.url)
	_, entries := plan(t, files)
	const cuts, after = 5, 1_000_000
	c.mu.Lock()
	c.cuts, c.after, c.sent, c.ranges = cuts, after, 0, nil
	c.mu.Unlock()

	got, err := read(t, files, entries["model.bin"], 0)

	require.NoError(t, err)
	assert.True(t, bytes.Equal(weights(), got))
	// What is in the buffers of a connection that is cut is lost.
	assert.LessOrEqual(t, c.sent, len(weights())+cuts*after)
	resumed := 0
	for _, part := range c.ranges {
		first, _, _ := strings.Cut(part, "-")
		offset, err := strconv.Atoi(first)
		require.NoError(t, err)
		// Parts begin at multiples of this.
		if offset%(1<<20) != 0 {
			resumed++
		}
	}
	assert.Positive(t, resumed, "%v", c.ranges)
}

func TestChanges(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, g bucket){
		"it is written again": func(t *testing.T, g bucket) {
			t.Helper()
			g.put(t, "model.bin", random(len(weights())))
		},
		"it becomes shorter": func(t *testing.T, g bucket) {
			t.Helper()
			g.put(t, "model.bin", []byte("x"))
		},
		"it is removed": func(t *testing.T, g bucket) {
			t.Helper()
			require.NoError(t, g.Remove(t.Context(), prefix+"/model.bin"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t)
			g.put(t, "model.bin", slices.Concat(weights(), random(20<<20)))
			files := open(t, g.Endpoint)
			_, entries := plan(t, files)
			opened, err := files.Open(t.Context(), entries["model.bin"], 0)
			require.NoError(t, err)
			defer opened.Close()
			_, err = io.CopyN(io.Discard, opened, 1)
			require.NoError(t, err)

			change(t, g)

			_, err = io.Copy(io.Discard, opened)
			assertReason(t, v1alpha1.ReasonSourceChanging, `"model.bin" changed while it was packaged`, err)
		})
	}
}

// An object that is written again with the same content has the same ETag, as one would
// with another content of the same MD5. In a bucket with versioning, it is recognized.
func TestVersionChanges(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		versioning bool
		want       string
	}{
		"with versioning":    {true, v1alpha1.ReasonSourceChanging},
		"without versioning": {false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t)
			if tt.versioning {
				require.NoError(t, g.Client.EnableVersioning(t.Context(), gateway.Bucket))
			}
			content := slices.Concat(weights(), random(20<<20))
			g.put(t, "model.bin", content)
			files := open(t, g.Endpoint)
			_, entries := plan(t, files)
			opened, err := files.Open(t.Context(), entries["model.bin"], 0)
			require.NoError(t, err)
			defer opened.Close()
			_, err = io.CopyN(io.Discard, opened, 1)
			require.NoError(t, err)

			g.put(t, "model.bin", content)

			_, err = io.Copy(io.Discard, opened)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			assertReason(t, tt.want, `"model.bin" changed while it was packaged`, err)
			got, err := read(t, open(t, g.Endpoint), entries["model.bin"], 0)
			require.NoError(t, err, "the next build reads it")
			assert.True(t, bytes.Equal(content, got))
		})
	}
}

// Files that were put beside the gateway have no ETag.
func TestWithoutETags(t *testing.T) {
	t.Parallel()
	g := startWithoutETags(t)
	file := g.write(t, "model.bin", weights())
	files := open(t, g.Endpoint)
	planned, entries := plan(t, files)
	assert.False(t, layer.HasIdentities(planned.Entries()))
	got, err := read(t, files, entries["model.bin"], 0)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(weights(), got))

	g.write(t, "model.bin", random(len(weights())))
	later := time.Now().Add(2 * time.Second)
	require.NoError(t, os.Chtimes(file, later, later))
	_, err = read(t, files, entries["model.bin"], 0)
	assertReason(t, v1alpha1.ReasonSourceChanging, `"model.bin" changed`, err)
}

func TestManyObjects(t *testing.T) {
	t.Parallel()
	g := startWithoutETags(t)
	const objects = 2_345
	for n := range objects {
		g.write(t, fmt.Sprintf("%d/%d.json", n%7, n), []byte("{}"))
	}
	planned, _ := plan(t, open(t, g.Endpoint))
	assert.Equal(t, int64(objects), planned.Files)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.put(t, "model.bin", []byte("x"))
	for name, tt := range map[string]struct {
		change       func(l *remote.S3)
		key, secret  string
		reason, says string
	}{
		"no bucket":         {func(l *remote.S3) { l.Bucket = "others" }, gateway.AccessKey, gateway.SecretKey, v1alpha1.ReasonSourceMissing, "has no bucket others"},
		"no prefix":         {func(l *remote.S3) { l.Prefix = "team-a/mistral" }, gateway.AccessKey, gateway.SecretKey, v1alpha1.ReasonSourceMissing, `no objects below "team-a/mistral/"`},
		"a prefix of names": {func(l *remote.S3) { l.Prefix = "team-a/lla" }, gateway.AccessKey, gateway.SecretKey, v1alpha1.ReasonSourceMissing, `no objects below "team-a/lla/"`},
		"an object":         {func(l *remote.S3) { l.Prefix += "/model.bin" }, gateway.AccessKey, gateway.SecretKey, v1alpha1.ReasonSourceMissing, "no objects below"},
		"an unknown key":    {func(*remote.S3) {}, "AKIAUNKNOWN", gateway.SecretKey, v1alpha1.ReasonSourceUnauthorized, "rejects the credentials (XAdminUserNotFound"},
		"a wrong secret":    {func(*remote.S3) {}, gateway.AccessKey, "wrong", v1alpha1.ReasonSourceUnauthorized, "rejects the credentials (SignatureDoesNotMatch"},
		"no credentials":    {func(*remote.S3) {}, "", "", v1alpha1.ReasonSourceUnauthorized, "credentials: none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := location(g.Endpoint)
			tt.change(l.S3)
			files, err := remote.Open(t.Context(), l, access(t, g.Endpoint, tt.key, tt.secret))
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, files.Close()) })
			_, err = files.List(t.Context())
			assertReason(t, tt.reason, tt.says, err)
		})
	}
}

// A build sends three layers at once, of any size, in 64 MiB.
func TestMemory(t *testing.T) {
	g := startWithoutETags(t)
	const size, layers, limit = 1 << 30, 3, 64 << 20
	for n := range layers {
		file := g.write(t, fmt.Sprintf("%d.bin", n), nil)
		require.NoError(t, os.Truncate(file, size))
	}
	files := open(t, g.Endpoint)
	_, entries := plan(t, files)
	runtime.GC()

	var peak atomic.Uint64
	done := make(chan struct{})
	go func() {
		for ticker := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-done:
				return
			case <-ticker.C:
				var stats runtime.MemStats
				runtime.ReadMemStats(&stats)
				peak.Store(max(peak.Load(), stats.HeapInuse+stats.StackInuse))
			}
		}
	}()
	group, ctx := errgroup.WithContext(t.Context())
	began := time.Now()
	for n := range layers {
		group.Go(func() error {
			opened, err := files.Open(ctx, entries[fmt.Sprintf("%d.bin", n)], 0)
			if err != nil {
				return err
			}
			defer opened.Close()
			_, err = io.Copy(io.Discard, opened)
			return err
		})
	}
	require.NoError(t, group.Wait())
	close(done)
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(os.Getpid()), "status"))
	require.NoError(t, err)
	_, highest, _ := strings.Cut(string(status), "VmHWM:")
	highest, _, _ = strings.Cut(highest, "\n")
	t.Logf("%d MiB in %s, heap and stacks of %d MiB at most, with this program %s", layers*size>>20, time.Since(began).Round(time.Millisecond), peak.Load()>>20, strings.TrimSpace(highest))
	assert.Less(t, peak.Load(), uint64(limit))
}
