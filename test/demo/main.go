// Command demo shows Modelkiln on the one-node test cluster. It applies a Job
// that trains a small model, a ModelVersion that waits for the Job, and a
// Deployment that waits for the ModelVersion. Then it verifies that the image
// contains the trained files, and sends requests to the model server.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// modelDir is the directory of the model. It is below the test cluster's data
// directory, so that it is removed with the cluster.
const modelDir = "/var/lib/modelkiln-cluster/models/two-spirals/1"

// timeout is how long the demo waits for the image and for the server.
const timeout = 5 * time.Minute

//go:embed manifests.yaml
var manifests string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	cluster, err := connect()
	if err != nil {
		return err
	}
	if err := apply(ctx, out); err != nil {
		return err
	}
	mv, err := waitForImage(ctx, cluster, out)
	if err != nil {
		return err
	}
	printTitle(out, "kubectl logs job/train-two-spirals --tail=3")
	if err := kubectl(ctx, out, nil, "logs", "job/train-two-spirals", "--tail=3"); err != nil {
		return err
	}
	printTitle(out, "kubectl get mv,mo")
	if err := kubectl(ctx, out, nil, "get", "mv,mo"); err != nil {
		return err
	}
	if err := showSteps(ctx, cluster, out, mv); err != nil {
		return err
	}
	if err := showImage(ctx, out, mv); err != nil {
		return err
	}
	if err := showServer(ctx, cluster, out); err != nil {
		return err
	}
	printNextSteps(out, mv)
	return nil
}

func connect() (client.WithWatch, error) {
	if os.Getenv("KUBECONFIG") == "" || os.Getenv("REGISTRY") == "" {
		return nil, errors.New("KUBECONFIG or REGISTRY is not set; start a cluster and the demo with: make demo")
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), wfv1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// apply deletes the objects of an earlier run and applies the manifests.
func apply(ctx context.Context, out io.Writer) error {
	printTitle(out, "kubectl apply -f test/demo/manifests.yaml")
	fmt.Fprintf(out, "%s\n", manifests)
	manifest := []byte(strings.ReplaceAll(manifests, "$REGISTRY", os.Getenv("REGISTRY")))
	if err := kubectl(ctx, io.Discard, manifest, "delete", "--ignore-not-found", "-f", "-"); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Dir(modelDir)); err != nil {
		return fmt.Errorf("remove the model directory: %w", err)
	}
	return kubectl(ctx, out, manifest, "apply", "-f", "-")
}

// waitForImage prints each new message of the ModelVersion until it is Ready
// or has failed.
func waitForImage(ctx context.Context, cluster client.WithWatch, out io.Writer) (*v1alpha1.ModelVersion, error) {
	printTitle(out, "Waiting for the training and the image")
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	watch, err := cluster.Watch(ctx, &v1alpha1.ModelVersionList{}, client.InNamespace("default"), client.MatchingFields{"metadata.name": "two-spirals-1"})
	if err != nil {
		return nil, fmt.Errorf("watch the ModelVersion: %w", err)
	}
	defer watch.Stop()
	last := ""
	for event := range watch.ResultChan() {
		mv, ok := event.Object.(*v1alpha1.ModelVersion)
		if !ok {
			continue
		}
		if mv.Status.Message != last {
			last = mv.Status.Message
			fmt.Fprintf(out, "%5.1f s  %s\n", time.Since(start).Seconds(), last)
		}
		if meta.IsStatusConditionTrue(mv.Status.Conditions, v1alpha1.ConditionReady) {
			return mv, nil
		}
		if meta.IsStatusConditionTrue(mv.Status.Conditions, v1alpha1.ConditionStalled) {
			return nil, fmt.Errorf("the ModelVersion failed: %s", last)
		}
	}
	return nil, fmt.Errorf("the image was not built within %s; see: kubectl describe mv two-spirals-1", timeout)
}

func kubectl(ctx context.Context, out io.Writer, in []byte, args ...string) error {
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kubectl %s: %w", args[0], err)
	}
	return nil
}

func printTitle(out io.Writer, text string) {
	fmt.Fprintf(out, "\n\033[1m%s\033[0m\n", text)
}

func printNextSteps(out io.Writer, mv *v1alpha1.ModelVersion) {
	printTitle(out, "Next steps")
	fmt.Fprintf(out, `. .cluster/env                                    # kubectl, argo and crane for this cluster
kubectl describe mv %[1]s
argo get %[2]s
argo resubmit %[2]s           # pushes nothing: the registry has the image
crane export %[3]s - | tar -tv
make e2e                                          # the end-to-end tests
make cluster-down                                 # stop and remove the cluster
`, mv.Name, mv.Status.Workflow.Name, mv.Status.Image)
}
