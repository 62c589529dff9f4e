// Package gateway runs the Versity Gateway, which serves a directory with the API of
// Amazon S3, as a process.
package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// The account and the bucket of a gateway.
const (
	AccessKey = "AKIAMODELKILN"
	SecretKey = "s3cr3t-of-the-gateway"
	Bucket    = "models"
)

// Gateway is a process of the Versity Gateway.
type Gateway struct {
	// Endpoint is its URL.
	Endpoint string
	// Dir is the directory of the bucket.
	Dir string
	// Client reads and writes objects.
	Client *minio.Client

	process *exec.Cmd
	printed bytes.Buffer
}

// Start starts the program at an address, which may be "127.0.0.1:0", with the objects
// in an empty directory. Attributes and old versions of objects are in another one: not
// every file system has attributes for them. Without, objects have no ETags.
func Start(ctx context.Context, program, address, objects, attributes string) (*Gateway, error) {
	g := &Gateway{Dir: filepath.Join(objects, Bucket)}
	if err := os.Mkdir(g.Dir, 0o755); err != nil {
		return nil, err
	}
	host, err := freeAddress(ctx, address)
	if err != nil {
		return nil, err
	}
	g.Endpoint = "http://" + host
	if g.Client, err = minio.New(host, &minio.Options{Creds: credentials.NewStaticV4(AccessKey, SecretKey, ""), Region: "us-east-1"}); err != nil {
		return nil, err
	}
	metadata := []string{"--nometa"}
	if attributes != "" {
		metadata = []string{"--sidecar", filepath.Join(attributes, "sidecar"), "--versioning-dir", filepath.Join(attributes, "versions")}
		for _, dir := range []string{metadata[1], metadata[3]} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return nil, err
			}
		}
	}
	arguments := append([]string{"--port", host, "--region", "us-east-1", "--quiet", "posix"}, metadata...)
	g.process = exec.Command(program, append(arguments, objects)...)
	g.process.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+AccessKey, "ROOT_SECRET_ACCESS_KEY="+SecretKey)
	g.process.Stdout, g.process.Stderr = &g.printed, &g.printed
	if err := g.process.Start(); err != nil {
		return nil, fmt.Errorf("start the gateway: %w", err)
	}
	if err := g.awaitBucket(ctx); err != nil {
		return nil, errors.Join(err, g.Stop())
	}
	return g, nil
}

// freeAddress returns an address with a port that is free.
func freeAddress(ctx context.Context, address string) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// startTimeout is how long a gateway may take to start.
const startTimeout = time.Minute

// awaitBucket waits until the gateway serves its bucket.
func (g *Gateway) awaitBucket(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	next := time.NewTicker(20 * time.Millisecond)
	defer next.Stop()
	for {
		exists, err := g.Client.BucketExists(ctx, Bucket)
		if exists {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the gateway has not started: %w: %s", errors.Join(ctx.Err(), err), g.printed.String())
		case <-next.C:
		}
	}
}

// Put writes an object. Larger ones have several parts, so that their ETags are no MD5.
func (g *Gateway) Put(ctx context.Context, key string, content io.Reader, size int64) error {
	const partSize = 5 << 20
	_, err := g.Client.PutObject(ctx, Bucket, key, content, size, minio.PutObjectOptions{PartSize: partSize})
	return err
}

// Remove deletes an object.
func (g *Gateway) Remove(ctx context.Context, key string) error {
	return g.Client.RemoveObject(ctx, Bucket, key, minio.RemoveObjectOptions{})
}

// WriteSecret writes the keys of the account as files, as a mounted Secret has them.
func WriteSecret(dir string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "AWS_ACCESS_KEY_ID"), []byte(AccessKey), 0o600),
		os.WriteFile(filepath.Join(dir, "AWS_SECRET_ACCESS_KEY"), []byte(SecretKey), 0o600),
	)
}

// Stop ends the process.
func (g *Gateway) Stop() error {
	if err := g.process.Process.Kill(); err != nil {
		return fmt.Errorf("stop the gateway: %w", err)
	}
	_ = g.process.Wait() // It was killed.
	return nil
}
