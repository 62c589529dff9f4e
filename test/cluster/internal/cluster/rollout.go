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
	// rolloutPatience is the time that a Deployment has for its pods to become available; the images are there already.
	rolloutPatience = 2 * time.Minute
	// rolloutGlance is how often a person who waits is told what the pods wait for.
	rolloutGlance = 10 * time.Second
)

// deployment names a Deployment.
type deployment struct{ namespace, name string }

func (d deployment) String() string { return d.namespace + "/" + d.name }

// awaitDeployments waits until the pods of the deployments are available in their present version.
func (c *Cluster) awaitDeployments(ctx context.Context, deployments ...deployment) error {
	for _, d := range deployments {
		if err := c.awaitDeployment(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) awaitDeployment(ctx context.Context, d deployment) error {
	rolledOut := make(chan error, 1)
	go func() {
		_, err := c.kubectl(ctx, "rollout", "status", "deployment", d.name, "--namespace", d.namespace, "--timeout", rolloutPatience.String())
		rolledOut <- err
	}()
	glance := time.NewTicker(rolloutGlance)
	defer glance.Stop()
	for {
		select {
		case err := <-rolledOut:
			if err == nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			return c.explainRollout(ctx, d, err)
		case <-glance.C:
			if pods, err := c.podsOf(ctx, d); err == nil {
				c.report.Say("waiting for %s: %s", d, describe(pods))
			}
		}
	}
}

// explainRollout puts what the pods wait for, and the last that they logged, into the failure of a rollout.
func (c *Cluster) explainRollout(ctx context.Context, d deployment, failure error) error {
	pods, err := c.podsOf(ctx, d)
	if err != nil {
		return errors.Join(failure, err)
	}
	explanation := fmt.Sprintf("%s does not become available: %s", d, describe(pods))
	for _, pod := range pods {
		if pod.ready() {
			continue
		}
		log, err := c.kubectl(ctx, "logs", pod.Metadata.Name, "--namespace", d.namespace, "--all-containers", "--tail", "10")
		if err == nil && log != "" {
			explanation += fmt.Sprintf("\nthe last lines of the log of %s:\n%s", pod.Metadata.Name, strings.TrimSpace(log))
		}
	}
	return errors.New(explanation)
}

// podsOf are the pods of a deployment, of any version.
func (c *Cluster) podsOf(ctx context.Context, d deployment) ([]pod, error) {
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

// parseSelector takes the labels that a Deployment finds its pods by, in the form that kubectl wants them.
func parseSelector(deployment string) (string, error) {
	var parsed struct {
		Spec struct {
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
		} `json:"spec"`
	}
	if err := json.Unmarshal([]byte(deployment), &parsed); err != nil {
		return "", fmt.Errorf("cannot read a Deployment as kubectl prints it: %w", err)
	}
	var labels []string
	for key, value := range parsed.Spec.Selector.MatchLabels {
		labels = append(labels, key+"="+value)
	}
	slices.Sort(labels)
	return strings.Join(labels, ","), nil
}

// pod is what tells how far a pod has got.
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
		return nil, fmt.Errorf("cannot read pods as kubectl prints them: %w", err)
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

// trouble says what a pod waits for.
func (p pod) trouble() string {
	for _, c := range p.Status.ContainerStatuses {
		if waiting := c.State.Waiting; waiting != nil {
			return strings.TrimSuffix(waiting.Reason+": "+waiting.Message, ": ")
		}
		if ended := c.State.Terminated; ended != nil {
			return fmt.Sprintf("container %s ended with exit code %d", c.Name, ended.ExitCode)
		}
	}
	for _, condition := range p.Status.Conditions {
		if condition.Type == "PodScheduled" && condition.Status == "False" {
			return "no node takes it: " + condition.Message
		}
	}
	if p.Status.Phase == "Running" {
		return "it runs but does not report that it is ready"
	}
	return "it is " + strings.ToLower(p.Status.Phase)
}

// describe tells in one line what the pods that are not ready wait for.
func describe(pods []pod) string {
	var waiting []string
	for _, p := range pods {
		if !p.ready() {
			waiting = append(waiting, fmt.Sprintf("pod %s: %s", p.Metadata.Name, p.trouble()))
		}
	}
	switch {
	case len(pods) == 0:
		return "it has no pods yet; the events of its ReplicaSet say why"
	case len(waiting) == 0:
		return "its pods are ready, and one of an earlier version still ends"
	}
	return strings.Join(waiting, "; ")
}
