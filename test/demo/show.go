package main

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// showSteps prints the steps of the ModelVersion's Workflow with their
// durations.
func showSteps(ctx context.Context, cluster client.Client, out io.Writer, mv *v1alpha1.ModelVersion) error {
	var wf wfv1.Workflow
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: mv.Status.Workflow.Name}, &wf); err != nil {
		return fmt.Errorf("get the Workflow: %w", err)
	}
	printTitle(out, "Steps of Workflow "+wf.Name)
	var steps []wfv1.NodeStatus
	for _, node := range wf.Status.Nodes {
		if node.Type == wfv1.NodeTypeContainer {
			steps = append(steps, node)
		}
	}
	slices.SortFunc(steps, func(a, b wfv1.NodeStatus) int {
		return cmp.Or(a.FinishedAt.Compare(b.FinishedAt.Time), cmp.Compare(a.ID, b.ID))
	})
	previous := wf.Status.StartedAt
	for _, step := range steps {
		fmt.Fprintf(out, "%-14s %-10s %3.0f s\n", step.DisplayName, step.Phase, step.FinishedAt.Sub(previous.Time).Seconds())
		previous = step.FinishedAt
	}
	fmt.Fprintf(out, "%-14s %-10s %3.0f s, including scheduling\n", "total", wf.Status.Phase, wf.Status.FinishedAt.Sub(wf.CreationTimestamp.Time).Seconds())
	return nil
}

// showImage prints the image's config and files. It fails unless the image
// contains exactly the files of the model, byte for byte.
func showImage(ctx context.Context, out io.Writer, mv *v1alpha1.ModelVersion) error {
	ref, err := name.ParseReference(mv.Status.Image, name.Insecure)
	if err != nil {
		return fmt.Errorf("read the image: %w", err)
	}
	image, err := remote.Image(ref, remote.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("read the image: %w", err)
	}
	// What the tag refers to may be an index, of which image is the image for linux/amd64.
	tagged, err := remote.Head(ref, remote.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("read the image: %w", err)
	}
	if err := showConfig(out, mv, tagged.Digest, image); err != nil {
		return err
	}
	packaged, err := imageFiles(image)
	if err != nil {
		return err
	}
	trained, err := directoryFiles(modelDir)
	if err != nil {
		return err
	}
	printTitle(out, "Files at "+v1alpha1.ModelPath+", compared with the trained files")
	for _, file := range slices.Sorted(keys(packaged, trained)) {
		if packaged[file] != trained[file] {
			return fmt.Errorf("%s: the SHA-256 is %q in the image, %q in the directory", file, packaged[file], trained[file])
		}
		fmt.Fprintf(out, "equal  sha256:%s  %s\n", packaged[file][:12], file)
	}
	fmt.Fprintf(out, "All %d files are equal.\n", len(packaged))
	return nil
}

func showConfig(out io.Writer, mv *v1alpha1.ModelVersion, digest v1.Hash, image v1.Image) error {
	config, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("read the image's config: %w", err)
	}
	if digest.String() != mv.Status.Digest {
		return fmt.Errorf("the digest is %s in the registry, but %s in the ModelVersion's status", digest, mv.Status.Digest)
	}
	printTitle(out, "Image "+mv.Status.Image)
	fmt.Fprintf(out, "digest  %s (in the registry and in the ModelVersion's status)\n", digest)
	for _, env := range config.Config.Env {
		fmt.Fprintf(out, "env     %s\n", env)
	}
	for _, label := range slices.Sorted(keys(config.Config.Labels)) {
		fmt.Fprintf(out, "label   %s=%s\n", label, config.Config.Labels[label])
	}
	if !slices.Contains(config.Config.Env, v1alpha1.ModelPathEnv+"="+v1alpha1.ModelPath) {
		return fmt.Errorf("the image does not set %s", v1alpha1.ModelPathEnv)
	}
	return nil
}

// imageFiles returns the SHA-256 digests of the image's model files by path.
func imageFiles(image v1.Image) (map[string]string, error) {
	flat := mutate.Extract(image)
	defer flat.Close()
	sums := map[string]string{}
	reader := tar.NewReader(flat)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return sums, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the image's files: %w", err)
		}
		file, inModel := strings.CutPrefix("/"+strings.TrimPrefix(header.Name, "/"), v1alpha1.ModelPath+"/")
		if !inModel || header.Typeflag != tar.TypeReg {
			continue
		}
		if sums[file], err = sum(reader); err != nil {
			return nil, err
		}
	}
}

// directoryFiles returns the SHA-256 digests of a directory's files by path.
func directoryFiles(dir string) (map[string]string, error) {
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.Open(path)
		if err != nil {
			return err
		}
		defer content.Close()
		file, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		sums[file], err = sum(content)
		return err
	})
	return sums, err
}

func sum(content io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, content); err != nil {
		return "", fmt.Errorf("hash: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// keys returns an iterator over the keys of all maps, without duplicates.
func keys(sets ...map[string]string) func(func(string) bool) {
	all := map[string]bool{}
	for _, set := range sets {
		for key := range set {
			all[key] = true
		}
	}
	return func(yield func(string) bool) {
		for key := range all {
			if !yield(key) {
				return
			}
		}
	}
}
