package dist

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	helm "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/registry"

	"github.com/modelkiln/modelkiln/test/release/chart"
)

// pushChart writes the chart as a file, and pushes it as an OCI artifact.
func (r *release) pushChart(ctx context.Context) error {
	loaded, err := r.chart()
	if err != nil {
		return err
	}
	path, err := chartutil.Save(loaded, r.Output)
	if err != nil {
		return err
	}
	committed, err := r.commitTime(ctx)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if content, err = withTime(content, committed); err != nil {
		return err
	}
	if err := r.write(filepath.Base(path), content); err != nil {
		return err
	}
	client, err := r.helmClient()
	if err != nil {
		return err
	}
	result, err := client.Push(content, r.Repository+"/charts/"+loaded.Name()+":"+loaded.Metadata.Version, registry.PushOptCreationTime(committed.UTC().Format(time.RFC3339)))
	if err != nil {
		return fmt.Errorf("push the chart to %s/charts: %w", r.Repository, err)
	}
	r.chartDigest = result.Manifest.Digest
	return nil
}

// withTime returns the archive of a chart in which all files have the same time: Helm
// writes the present one.
func withTime(archive []byte, modified time.Time) ([]byte, error) {
	compressed, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	to := gzip.NewWriter(&b)
	to.Header = compressed.Header
	from, entries := tar.NewReader(compressed), tar.NewWriter(to)
	for {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		header.ModTime = modified
		if err := entries.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := io.Copy(entries, from); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(entries.Close(), to.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// chart returns the chart of the checkout with the images and the version of the release.
func (r *release) chart() (*helm.Chart, error) {
	files, err := chart.Files(r.Root, r.images)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(r.Root, chart.Dir)
	loaded, err := loader.LoadDir(dir)
	if err != nil {
		return nil, err
	}
	var buffered []*loader.BufferedFile
	for _, file := range loaded.Raw {
		content := file.Data
		if generated, ok := files[file.Name]; ok {
			content = generated
		}
		buffered = append(buffered, &loader.BufferedFile{Name: file.Name, Data: content})
	}
	return loader.LoadFiles(buffered)
}

// helmClient returns a client that uses the credentials of helm and docker login.
func (r *release) helmClient() (*registry.Client, error) {
	host, _, _ := strings.Cut(r.Repository, "/")
	of, err := name.NewRegistry(host, r.nameOptions()...)
	if err != nil {
		return nil, err
	}
	options := []registry.ClientOption{registry.ClientOptWriter(r.Progress)}
	if of.Scheme() == "http" {
		options = append(options, registry.ClientOptPlainHTTP())
	}
	return registry.NewClient(options...)
}
