package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/test/demo/spirals"
)

// showServer waits for the model server and requests predictions from it.
func showServer(ctx context.Context, cluster client.Client, out io.Writer) error {
	printTitle(out, "kubectl rollout status deployment/two-spirals")
	if err := kubectl(ctx, out, nil, "rollout", "status", "deployment/two-spirals", "--timeout="+timeout.String()); err != nil {
		return err
	}
	url, err := serverURL(ctx, cluster)
	if err != nil {
		return err
	}
	// Two points at the same distance from the origin, on different spirals.
	for i, point := range []spirals.Point{{X: 0.5, Y: 0}, {X: -0.5, Y: 0}} {
		body, err := json.Marshal(point)
		if err != nil {
			return fmt.Errorf("request a prediction: %w", err)
		}
		printTitle(out, fmt.Sprintf("curl -d '%s' %s", body, url))
		prediction, err := predict(ctx, url, body)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", prediction)
		if i > 0 {
			continue
		}
		if err := showDelay(ctx, cluster, out); err != nil {
			return err
		}
	}
	return nil
}

// serverURL returns the URL of the Service's node port. The cluster IP is not
// reachable from outside the node.
func serverURL(ctx context.Context, cluster client.Client) (string, error) {
	node, _, err := net.SplitHostPort(os.Getenv("REGISTRY"))
	if err != nil {
		return "", fmt.Errorf("find the node's address: %w", err)
	}
	var service corev1.Service
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: "default", Name: "two-spirals"}, &service); err != nil {
		return "", fmt.Errorf("get the Service: %w", err)
	}
	return "http://" + net.JoinHostPort(node, strconv.Itoa(int(service.Spec.Ports[0].NodePort))) + "/", nil
}

// predict requests a prediction until the server responds: kube-proxy routes to
// a pod only a moment after the pod is ready.
func predict(ctx context.Context, url string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for {
		prediction, err := post(ctx, url, body)
		if err == nil {
			return prediction, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("request a prediction: %w", err)
		case <-retry.C:
		}
	}
}

func post(ctx context.Context, url string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, content)
	}
	return bytes.TrimSpace(content), err
}

// showDelay prints the time since the training Job completed.
func showDelay(ctx context.Context, cluster client.Client, out io.Writer) error {
	var job batchv1.Job
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: "default", Name: "train-two-spirals"}, &job); err != nil {
		return fmt.Errorf("get the Job: %w", err)
	}
	fmt.Fprintf(out, "The server returned its first prediction %.0f s after the training had completed.\n", time.Since(job.Status.CompletionTime.Time).Seconds())
	return nil
}
