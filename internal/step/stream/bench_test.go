package stream

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// forgetfulRegistry is a fake of a registry that hashes uploads, as registries do, and
// keeps their digests only.
type forgetfulRegistry struct{ blobs sync.Map }

func (f *forgetfulRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		w.Header().Set("Location", r.URL.Path+"session")
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPatch:
		_, _ = io.Copy(sha256.New(), r.Body)
		w.Header().Set("Location", r.URL.Path)
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPut:
		_, _ = io.Copy(io.Discard, r.Body)
		f.blobs.Store(r.URL.Query().Get("digest"), true)
		w.WriteHeader(http.StatusCreated)
	default:
		if _, found := f.blobs.Load(path.Base(r.URL.Path)); !found && r.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusNotFound)
		}
	}
}

// BenchmarkBuild measures the first build of a model of eight files of 64 MiB, with and
// without the SHA-256 of each file.
func BenchmarkBuild(b *testing.B) {
	server := httptest.NewServer(&forgetfulRegistry{})
	b.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	dir := b.TempDir()
	const files, size = 8, 64 << 20
	for i := range files {
		writeRandom(b, filepath.Join(dir, fmt.Sprintf("weights-%d.bin", i)), size)
	}
	storage := source.Storage{Mount: dir, Name: "the directory"}
	open := func() (source.Files, error) { return storage.Open() }
	opened, err := open()
	require.NoError(b, err)
	listing, err := opened.List(b.Context())
	require.NoError(b, err)
	require.NoError(b, opened.Close())
	model, err := layer.NewPlan(listing)
	require.NoError(b, err)
	model = model.WithLimits(layer.Limits{Size: layer.DefaultSize, Layers: layer.DefaultLayers})
	config := registry.Config{PlainHTTP: []string{host}}
	target, err := config.Tag(host + "/models/resnet:v1")
	require.NoError(b, err)
	base := handoff.BaseImage{Name: handoff.Scratch, Variants: []handoff.BaseVariant{{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, Reference: handoff.Scratch}}}
	for _, digests := range []bool{false, true} {
		b.Run(fmt.Sprintf("digests=%t", digests), func(b *testing.B) {
			b.SetBytes(files * size)
			before := processorTime(b)
			for b.Loop() {
				_, err := Build(b.Context(), Input{FileDigests: digests, Input: engine.Input{
					Plan: handoff.Plan{Storage: storage, Model: model, Base: base}, Registry: config, Target: target,
					Source: func(context.Context) (source.Files, error) { return open() },
					Log:    io.Discard, Progress: console.NewProgress("", model.Bytes, io.Discard),
				}})
				require.NoError(b, err)
			}
			b.ReportMetric(float64((processorTime(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}

// processorTime returns the time of processors that the benchmark, the registry in it
// included, has taken. Other programs affect it less than the time of a build.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func writeRandom(b *testing.B, name string, size int64) {
	b.Helper()
	file, err := os.Create(name)
	require.NoError(b, err)
	_, err = io.CopyN(file, rand.Reader, size)
	require.NoError(b, err)
	require.NoError(b, file.Close())
}
