package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/step/remote"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/test/sources/gateway"
)

// objectPrefix is where the model is in the bucket.
const objectPrefix = "bench"

// objects is an object store with the model.
type objects struct {
	gateway *gateway.Gateway
	// secret is the directory with the keys.
	secret string
}

// startObjects starts an object store with its data in dir.
func startObjects(ctx context.Context, program, dir string) (*objects, error) {
	store := &objects{secret: filepath.Join(dir, "secret")}
	data, attributes := filepath.Join(dir, "data"), filepath.Join(dir, "attributes")
	for _, each := range []string{store.secret, data, attributes} {
		if err := os.MkdirAll(each, 0o755); err != nil {
			return nil, fmt.Errorf("prepare the object store: %w", err)
		}
	}
	var err error
	if store.gateway, err = gateway.Start(ctx, program, "127.0.0.1:0", data, attributes); err != nil {
		return nil, err
	}
	return store, gateway.WriteSecret(store.secret)
}

// upload stores the files of a directory. The ETags of unchanged ones stay as they are.
func (o *objects) upload(ctx context.Context, dir string, names []string) error {
	for _, name := range names {
		if err := o.uploadFile(ctx, filepath.Join(dir, name), name); err != nil {
			return fmt.Errorf("upload %s: %w", name, err)
		}
	}
	return nil
}

func (o *objects) uploadFile(ctx context.Context, file, name string) error {
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	info, err := content.Stat()
	if err != nil {
		return err
	}
	return o.gateway.Put(ctx, objectPrefix+"/"+name, content, info.Size())
}

// arguments are those of mount-check for the model.
func (o *objects) arguments() []string {
	return []string{
		"--storage-kind=s3", "--endpoint=" + o.gateway.Endpoint, "--bucket=" + gateway.Bucket, "--prefix=" + objectPrefix,
		"--allowed-s3=" + o.gateway.Endpoint, "--source-secret-dir=" + o.secret,
	}
}

// readCommand is the argument with which this program only reads a model from an object
// store, as many files at a time as Stream sends layers.
const readCommand = "read-objects"

// readObjects reads the model at an endpoint to nothing.
func readObjects(ctx context.Context, endpoint, secret string) error {
	const concurrent = 3
	location := &remote.Location{S3: &remote.S3{Endpoint: endpoint, Bucket: gateway.Bucket, Prefix: objectPrefix}}
	files, err := remote.Open(ctx, location, remote.Access{S3Rules: sourcepolicy.S3Rules{Allowed: []string{endpoint}}, SecretDir: secret})
	if err != nil {
		return err
	}
	listing, err := files.List(ctx)
	if err != nil {
		return errors.Join(err, files.Close())
	}
	plan, err := layer.NewPlan(listing)
	if err != nil {
		return errors.Join(err, files.Close())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrent)
	for _, e := range plan.Entries() {
		if e.Type == layer.File {
			group.Go(func() error { return readObject(ctx, files, e) })
		}
	}
	return errors.Join(group.Wait(), files.Close())
}

func readObject(ctx context.Context, files source.Files, e layer.Entry) error {
	content, err := files.Open(ctx, e, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, content)
	return errors.Join(err, content.Close())
}
