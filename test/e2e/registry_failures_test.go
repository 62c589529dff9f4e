//go:build e2e

package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

func TestRegistryFull(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newDirectory(t)
	dir.random(t, "weights.bin", 3*limit)
	registry := live.proxiedRegistry(t, proxy.LimitBody(limit, http.StatusInsufficientStorage))

	mv, took := live.failed(t, registry.makeVersion(t, "pushed", ns, dir).New())

	assertFailed(t, mv, v1alpha1.ReasonRegistryFull, registry.Host)
	assert.Contains(t, mv.Status.Message, "507")
	assert.Contains(t, mv.Status.Message, v1alpha1.AnnotationRebuild)
	logNoticed(t, mv, took)
	registry.Repair()
	runCommand(t, mv.Status.Message)
	assertImage(t, live.readyAgain(t, mv), dir)
}

// limit is the largest body that the registry has space for: more than any layer
// of the base image.
const limit = 8 << 20

func TestVerificationFailed(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	registry := live.proxiedRegistry(t, proxy.LoseTag())

	mv, took := live.failed(t, registry.makeVersion(t, "forgotten", ns, dir).New())

	assertFailed(t, mv, v1alpha1.ReasonVerificationFailed, mv.Status.Image)
	logNoticed(t, mv, took)
	registry.Repair()
	runCommand(t, mv.Status.Message)
	assertImage(t, live.readyAgain(t, mv), dir)
}

func TestRegistryUntrusted(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	server, authority := proxy.Certificate(t, live.machine(t))
	registry := live.proxiedRegistry(t, proxy.None, server)

	mv, took := live.failed(t, makeVersion("private", ns, dir).ImageRepo(registry.Host+"/e2e/"+ns).New())

	assertFailed(t, mv, v1alpha1.ReasonRegistryUntrusted, registry.Host)
	logNoticed(t, mv, took)

	// The operator copies its configured bundle into the namespace. This test
	// writes only the copy, since the configuration is for all tests.
	bundle := &corev1.ConfigMap{}
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: contract.RegistryCAConfigMap}, bundle))
	bundle.Data = map[string]string{"ca.crt": authority}
	require.NoError(t, live.Update(t.Context(), bundle))
	runCommand(t, mv.Status.Message)
	registry.assertImage(t, live.readyAgain(t, mv), dir)
}
