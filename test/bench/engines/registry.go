package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// registry is a distribution registry on this machine. Each builder gets an empty
// one, so that it cannot reuse what others pushed, and to save disk space.
type registry struct {
	program, dir, host string
	process            *exec.Cmd
}

// newRegistry returns a registry on a free port with its data in dir.
func newRegistry(program, dir string) (*registry, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a port for the registry: %w", err)
	}
	defer func() { _ = listener.Close() }()
	r := &registry{program: program, dir: dir, host: listener.Addr().String()}
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nhttp: {addr: %q}\nstorage: {filesystem: {rootdirectory: %q}}\n", r.host, r.data())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("prepare the registry: %w", err)
	}
	return r, os.WriteFile(r.config(), []byte(config), 0o644)
}

func (r *registry) config() string { return filepath.Join(r.dir, "config.yml") }
func (r *registry) data() string   { return filepath.Join(r.dir, "data") }

// base returns the reference of the base image.
func (r *registry) base() string { return r.host + "/library/base:1" }

// start starts the registry and pushes the base image.
func (r *registry) start(ctx context.Context) error {
	r.process = exec.CommandContext(ctx, r.program, "serve", r.config())
	r.process.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	r.process.Cancel = func() error { return r.process.Process.Signal(syscall.SIGTERM) }
	if err := r.process.Start(); err != nil {
		return fmt.Errorf("start the registry: %w", err)
	}
	if err := r.waitReady(ctx); err != nil {
		return errors.Join(err, r.stop())
	}
	if err := r.pushBase(ctx); err != nil {
		return errors.Join(err, r.stop())
	}
	return nil
}

// waitReady waits until the registry responds.
func (r *registry) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for next := time.NewTicker(50 * time.Millisecond); ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.host+"/v2/", nil)
		if err != nil {
			return fmt.Errorf("wait for the registry: %w", err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			return resp.Body.Close()
		}
		select {
		case <-ctx.Done():
			return errors.New("the registry does not respond")
		case <-next.C:
		}
	}
}

func (r *registry) pushBase(ctx context.Context) error {
	const size = 1 << 20
	layer, err := random.Layer(size, types.OCILayer)
	if err != nil {
		return fmt.Errorf("create the base image: %w", err)
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return fmt.Errorf("create the base image: %w", err)
	}
	ref, err := name.ParseReference(r.base(), name.Insecure)
	if err != nil {
		return fmt.Errorf("push the base image: %w", err)
	}
	return remote.Write(ref, image, remote.WithContext(ctx))
}

// stop stops the registry and removes its data.
func (r *registry) stop() error {
	_ = r.process.Process.Signal(syscall.SIGTERM)
	// The exit status is irrelevant after SIGTERM.
	_ = r.process.Wait()
	return os.RemoveAll(r.data())
}
