//go:build e2e

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kubeletData is where the node keeps the emptyDir volumes of its pods.
const kubeletData = "/var/lib/modelkiln-cluster/kubelet"

// Kubelet restarts a registry that is killed while it receives a layer.
// test/registries has the same test of the engine Stream.
func TestRegistryKilled(t *testing.T) {
	t.Parallel()
	const size = 400 << 20
	ns := live.namespace(t)
	registry := live.registryPod(t, ns, `http: {addr: ":5000", secret: kept}`)
	dir := newDirectory(t)
	dir.random(t, "weights.bin", size)
	mv := makeVersionAt(t, live.nodePort(t, registry, 5000), "pushed", ns, dir).New()
	live.create(t, mv)

	require.Eventually(t, func() bool { return uploaded(registry) > size/10 }, buildTime, tick/10, "the registry receives a layer")
	require.NoError(t, syscall.Kill(mainProcess(t, registry), syscall.SIGKILL))

	mv = live.ready(t, mv)
	assert.Equal(t, int64(1), mv.Status.Attempts)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		// A busy kubelet reports the restart after the build has noticed it.
		require.NoError(collect, live.Get(t.Context(), client.ObjectKeyFromObject(registry), registry))
		require.Equal(collect, int32(1), registry.Status.ContainerStatuses[0].RestartCount, "it was killed, once")
	}, noticeTime, tick)
	assertImage(t, mv, dir)
}

// nodePort exposes a pod's port on the node, which this machine reaches too,
// and returns the host and port.
func (c *cluster) nodePort(t *testing.T, pod *corev1.Pod, port int32) string {
	t.Helper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: pod.Labels, Ports: []corev1.ServicePort{{Port: port}}},
	}
	c.create(t, service)
	node, _, err := net.SplitHostPort(c.registry)
	require.NoError(t, err)
	return net.JoinHostPort(node, strconv.Itoa(int(service.Spec.Ports[0].NodePort)))
}

// uploaded returns the length of the longest unfinished upload on the disk of a
// test's registry.
func uploaded(registry *corev1.Pod) (longest int64) {
	// The pattern is valid.
	found, _ := filepath.Glob(filepath.Join(kubeletData, "pods", string(registry.UID), "volumes/kubernetes.io~empty-dir/data/docker/registry/v2/repositories/*/*/_uploads/*/data"))
	for _, file := range found {
		if info, err := os.Stat(file); err == nil {
			longest = max(longest, info.Size())
		}
	}
	return longest
}

// mainProcess returns the process ID, on this machine, of a pod's only
// container.
func mainProcess(t *testing.T, pod *corev1.Pod) int {
	t.Helper()
	_, id, found := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	require.True(t, found)
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	require.NoError(t, err)
	for _, file := range processes {
		// A process may have ended since.
		if cgroup, err := os.ReadFile(file); err == nil && strings.Contains(string(cgroup), id) {
			process, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			require.NoError(t, err)
			return process
		}
	}
	require.Fail(t, "the container has no process")
	return 0
}
