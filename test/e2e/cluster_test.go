//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

const (
	// nodeName is the cluster's one node, which is this machine.
	nodeName = "kind-control-plane"
	// operatorNamespace is where the operator runs; operator is the name of its
	// Deployment and its service account.
	operatorNamespace = "modelkiln-system"
	operator          = "modelkiln-controller-manager"
	// workflowLabel is the label of a Workflow's pods with its name.
	workflowLabel = "workflows.argoproj.io/workflow"
)

// How long things may take on two cores that other builds share.
const (
	buildTime  = 4 * time.Minute
	noticeTime = 30 * time.Second
	tick       = 100 * time.Millisecond
)

// cluster is the one-node cluster.
type cluster struct {
	client.WithWatch
	// registry is the host and port of the registry, which is accessed over
	// plain HTTP: the operator's default registry.
	registry string
}

func connect() (*cluster, error) {
	registry := os.Getenv("REGISTRY")
	if registry == "" || os.Getenv("KUBECONFIG") == "" {
		return nil, errors.New("KUBECONFIG and REGISTRY are not set: . .cluster/env")
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	// Tests must not wait for the requests of other tests.
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme), wfv1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return &cluster{WithWatch: c, registry: registry}, nil
}

// namespace creates a namespace that is deleted after the test.
func (c *cluster) namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}
	require.NoError(t, c.Create(t.Context(), ns))
	c.deleteAfter(t, ns)
	c.explainAfter(t, ns.Name)
	return ns.Name
}

// create creates an object that is deleted with the test's namespace.
func (c *cluster) create(t *testing.T, object client.Object) {
	t.Helper()
	require.NoError(t, c.Create(t.Context(), object))
}

// deleteAfter deletes an object after the test.
func (c *cluster) deleteAfter(t *testing.T, object client.Object) {
	t.Helper()
	after(t, func(ctx context.Context) {
		assert.NoError(t, client.IgnoreNotFound(c.Delete(ctx, object, client.PropagationPolicy(metav1.DeletePropagationBackground))))
	})
}

// after does something after the test, with a context that outlives the test's
// own.
func after(t *testing.T, do func(ctx context.Context)) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		do(ctx)
	})
}

// run runs kubectl, argo or crane and returns what it printed.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := try(t.Context(), program, args...)
	require.NoError(t, err)
	return out
}

// try runs a program and returns what it printed. The error has what it printed
// to stderr.
func try(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s%s", program, strings.Join(args, " "), err, complaint.String(), out.String())
	}
	return out.String(), nil
}
