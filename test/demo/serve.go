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

// showServer waits for the server of the version and asks it a question.
func showServer(ctx context.Context, cluster client.Client, out io.Writer) error {
	title(out, "kubectl rollout status deployment/two-spirals")
	if err := kubectl(ctx, out, nil, "rollout", "status", "deployment/two-spirals", "--timeout="+patience.String()); err != nil {
		return err
	}
	at, err := serverAddress(ctx, cluster)
	if err != nil {
		return err
	}
	// Two places at the same distance from the middle.
	for i, point := range []spirals.Point{{X: 0.5, Y: 0}, {X: -0.5, Y: 0}} {
		question, err := json.Marshal(point)
		if err != nil {
			return fmt.Errorf("ask the model: %w", err)
		}
		title(out, fmt.Sprintf("curl -d '%s' %s", question, at))
		answer, err := ask(ctx, at, question)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", answer)
		if i > 0 {
			continue
		}
		if err := showDelay(ctx, cluster, out); err != nil {
			return err
		}
	}
	return nil
}

// serverAddress is where this machine reaches the Service, whose own address
// leads nowhere outside of the node.
func serverAddress(ctx context.Context, cluster client.Client) (string, error) {
	node, _, err := net.SplitHostPort(os.Getenv("REGISTRY"))
	if err != nil {
		return "", fmt.Errorf("find the node: %w", err)
	}
	var service corev1.Service
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: "default", Name: "two-spirals"}, &service); err != nil {
		return "", fmt.Errorf("get the Service: %w", err)
	}
	return "http://" + net.JoinHostPort(node, strconv.Itoa(int(service.Spec.Ports[0].NodePort))) + "/", nil
}

// ask asks until there is an answer: kube-proxy learns of a pod a moment after
// it is ready.
func ask(ctx context.Context, at string, question []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		answer, err := askOnce(ctx, at, question)
		if err == nil {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("ask the model: %w", err)
		case <-again.C:
		}
	}
}

func askOnce(ctx context.Context, at string, question []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, answer)
	}
	return bytes.TrimSpace(answer), err
}

// showDelay prints how long it took from the end of the training to here.
func showDelay(ctx context.Context, cluster client.Client, out io.Writer) error {
	var job batchv1.Job
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: "default", Name: "train-two-spirals"}, &job); err != nil {
		return fmt.Errorf("get the Job: %w", err)
	}
	fmt.Fprintf(out, "The first answer came %.0f s after the training was done.\n", time.Since(job.Status.CompletionTime.Time).Seconds())
	return nil
}
