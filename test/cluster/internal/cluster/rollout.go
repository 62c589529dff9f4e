package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// rolloutTimeout is the time within which a Deployment must become available. Its images are already on the node.
	rolloutTimeout = 2 * time.Minute
	// progressInterval is the interval at which the pods' waiting reasons are printed.
	progressInterval = 10 * time.Second
)

// deployment is the namespace and name of a Deployment.
type deployment struct{ namespace, name string }

func (d deployment) String() string { return d.namespace + "/" + d.name }

// waitForDeployments waits until the Deployments are rolled out.
func (c *Cluster) waitForDeployments(ctx context.Context, deployments ...deployment) error {
	for _, d := range deployments {
		if err := c.waitForDeployment(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) waitForDeployment(ctx context.Context, d deployment) error {
	rolledOut := make(chan error, 1)
	go func() {
		_, err := c.kubectl(ctx, "rollout", "status", "deployment", d.name, "--namespace", d.namespace, "--timeout", rolloutTimeout.String())
		rolledOut <- err
	}()
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case err := <-rolledOut:
			if err == nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			return c.explainRollout(ctx, d, err)
		case <-tick.C:
			if pods, err := c.listPods(ctx, d); err == nil {
				c.report.Logf("waiting for %s: %s", d, describePods(pods))
			}
		}
	}
}

// explainRollout returns an error about a failed rollout that contains the waiting reasons and the last log lines of its
// pods.
func (c *Cluster) explainRollout(ctx context.Context, d deployment, failure error) error {
	pods, err := c.listPods(ctx, d)
	if err != nil {
		return errors.Join(failure, err)
	}
	explanation := fmt.Sprintf("Deployment %s did not become available: %s", d, describePods(pods))
	for _, pod := range pods {
		if pod.ready() {
			continue
		}
		log, err := c.kubectl(ctx, "logs", pod.Metadata.Name, "--namespace", d.namespace, "--all-containers", "--tail", "10")
		if err == nil && log != "" {
			explanation += fmt.Sprintf("\nlast log lines of pod %s:\n%s", pod.Metadata.Name, strings.TrimSpace(log))
		}
	}
	return errors.New(explanation)
}

// listPods returns the pods of a Deployment, of all its revisions.
func (c *Cluster) listPods(ctx context.Context, d deployment) ([]pod, error) {
	out, err := c.kubectl(ctx, "get", "deployment", d.name, "--namespace", d.namespace, "--output", "json")
	if err != nil {
		return nil, err
	}
	selector, err := parseSelector(out)
	if err != nil {
		return nil, err
	}
	out, err = c.kubectl(ctx, "get", "pods", "--namespace", d.namespace, "--selector", selector, "--output", "json")
	if err != nil {
		return nil, err
	}
	return parsePods(out)
}

// parseSelector returns the label selector of a Deployment in the format of kubectl's flag --selector.
func parseSelector(deployment string) (string, error) {
	var parsed struct {
		Spec struct {
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
		} `json:"spec"`
	}
	if err := json.Unmarshal([]byte(deployment), &parsed); err != nil {
		return "", fmt.Errorf("cannot parse the Deployment that kubectl printed: %w", err)
	}
	var labels []string
	for key, value := range parsed.Spec.Selector.MatchLabels {
		labels = append(labels, key+"="+value)
	}
	slices.Sort(labels)
	return strings.Join(labels, ","), nil
}

// pod contains the fields of a Pod that explain why it is not ready.
type pod struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Status struct {
		Phase      string `json:"phase"`
		Conditions []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"conditions"`
		ContainerStatuses []container `json:"containerStatuses"`
	} `json:"status"`
}

type container struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	State struct {
		Waiting *struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"waiting"`
		Terminated *struct {
			ExitCode int `json:"exitCode"`
		} `json:"terminated"`
	} `json:"state"`
}

func parsePods(list string) ([]pod, error) {
	var parsed struct {
		Items []pod `json:"items"`
	}
	if err := json.Unmarshal([]byte(list), &parsed); err != nil {
		return nil, fmt.Errorf("cannot parse the pods that kubectl printed: %w", err)
	}
	return parsed.Items, nil
}

func (p pod) ready() bool {
	for _, condition := range p.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True"
		}
	}
	return false
}

// waitingReason returns the reason why a pod is not ready.
func (p pod) waitingReason() string {
	for _, c := range p.Status.ContainerStatuses {
		if waiting := c.State.Waiting; waiting != nil {
			return strings.TrimSuffix(waiting.Reason+": "+waiting.Message, ": ")
		}
		if terminated := c.State.Terminated; terminated != nil {
			return fmt.Sprintf("container %s terminated with exit code %d", c.Name, terminated.ExitCode)
		}
	}
	for _, condition := range p.Status.Conditions {
		if condition.Type == "PodScheduled" && condition.Status == "False" {
			return "not scheduled: " + condition.Message
		}
	}
	if p.Status.Phase == "Running" {
		return "running but not ready"
	}
	return strings.ToLower(p.Status.Phase)
}

// describePods returns one line that explains why pods are not ready.
func describePods(pods []pod) string {
	var waiting []string
	for _, p := range pods {
		if !p.ready() {
			waiting = append(waiting, fmt.Sprintf("pod %s: %s", p.Metadata.Name, p.waitingReason()))
		}
	}
	switch {
	case len(pods) == 0:
		return "it has no pods yet; see the events of its ReplicaSet"
	case len(waiting) == 0:
		return "its pods are ready; a pod of an earlier revision is still terminating"
	}
	return strings.Join(waiting, "; ")
}
