package inject_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/internal/inject"
)

// node returns a node with a kubelet and a container runtime.
func node(kubelet, runtime string, edits ...func(*corev1.Node)) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Status: corev1.NodeStatus{
		NodeInfo: corev1.NodeSystemInfo{KubeletVersion: kubelet, ContainerRuntimeVersion: runtime, OperatingSystem: "linux"},
	}}
	for _, edit := range edits {
		edit(&n)
	}
	return n
}

func taint(key string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: "yes", Effect: effect})
	}
}

func TestLacksImageVolumes(t *testing.T) {
	const oldKubelet = "node node-1 runs kubelet v1.34.2, and image volumes need 1.35"
	lacks := func(runtime string) string {
		return "node node-1 runs " + runtime + ", and image volumes with a subPath need containerd 2.2 (of k3s and RKE2 2.3) or CRI-O 1.33"
	}
	good := node("v1.35.1", "containerd://2.2.1")
	old := func(edits ...func(*corev1.Node)) []corev1.Node {
		return []corev1.Node{good, node("v1.34.2", "containerd://1.7.27", edits...)}
	}
	tolerates := func(tolerations ...corev1.Toleration) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{Tolerations: tolerations}}
	}
	for name, tt := range map[string]struct {
		nodes []corev1.Node
		pod   *corev1.Pod
		want  string
	}{
		"no nodes":                         {nil, nil, ""},
		"containerd 2.2":                   {[]corev1.Node{good}, nil, ""},
		"containerd 2.1":                   {[]corev1.Node{good, node("v1.35.1", "containerd://2.1.9")}, nil, lacks("containerd://2.1.9")},
		"containerd 1.7":                   {[]corev1.Node{node("v1.35.1", "containerd://1.7.27")}, nil, lacks("containerd://1.7.27")},
		"containerd with a v":              {[]corev1.Node{node("v1.35.1", "containerd://v2.2.0")}, nil, ""},
		"containerd of a vendor":           {[]corev1.Node{node("v1.35.1-eks-1a2b3c4", "containerd://2.2.0+unknown")}, nil, ""},
		"containerd of a third generation": {[]corev1.Node{node("v2.0.0", "containerd://3.0.0")}, nil, ""},
		"containerd 2.2 of k3s":            {[]corev1.Node{node("v1.36.1+k3s1", "containerd://2.2.3-k3s1")}, nil, lacks("containerd://2.2.3-k3s1")},
		"containerd 2.3 of k3s":            {[]corev1.Node{node("v1.36.2+k3s1", "containerd://2.3.2-k3s1")}, nil, ""},
		"CRI-O 1.33":                       {[]corev1.Node{node("v1.35.0", "cri-o://1.33.4")}, nil, ""},
		"CRI-O 1.32":                       {[]corev1.Node{node("v1.35.0", "cri-o://1.32.1")}, nil, lacks("cri-o://1.32.1")},
		"Docker":                           {[]corev1.Node{node("v1.35.0", "docker://29.0.0")}, nil, lacks("docker://29.0.0")},
		"another runtime":                  {[]corev1.Node{node("v1.35.0", "kata://9.0")}, nil, lacks("kata://9.0")},
		"no runtime":                       {[]corev1.Node{node("v1.35.0", "")}, nil, lacks("an unknown version")},
		"a runtime without a version":      {[]corev1.Node{node("v1.35.0", "containerd://")}, nil, lacks("containerd://")},
		"an old kubelet":                   {old(), nil, oldKubelet},
		"a kubelet before 1.35":            {[]corev1.Node{node("v1.33.0", "containerd://2.2.1")}, nil, "node node-1 runs kubelet v1.33.0, and image volumes need 1.35"},
		"a malformed kubelet":              {[]corev1.Node{node("latest\n", "containerd://2.2.1")}, nil, "node node-1 runs kubelet latest, and image volumes need 1.35"},

		"cordoned":                   {old(func(n *corev1.Node) { n.Spec.Unschedulable = true }), nil, ""},
		"Windows":                    {old(func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "windows" }), nil, ""},
		"an unknown system":          {old(func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "" }), nil, oldKubelet},
		"a virtual node":             {old(taint("virtual-kubelet.io/provider", corev1.TaintEffectNoSchedule)), nil, ""},
		"a control plane":            {old(taint("node-role.kubernetes.io/control-plane", corev1.TaintEffectNoExecute)), nil, ""},
		"not ready":                  {old(taint("node.kubernetes.io/not-ready", corev1.TaintEffectNoSchedule)), nil, oldKubelet},
		"a preference":               {old(taint("spot", corev1.TaintEffectPreferNoSchedule)), nil, oldKubelet},
		"a taint that is tolerated":  {old(taint("gpu", corev1.TaintEffectNoSchedule)), tolerates(corev1.Toleration{Key: "gpu", Operator: corev1.TolerationOpExists}), oldKubelet},
		"everything is tolerated":    {old(taint("gpu", corev1.TaintEffectNoSchedule)), tolerates(corev1.Toleration{Operator: corev1.TolerationOpExists}), oldKubelet},
		"the value is tolerated":     {old(taint("gpu", corev1.TaintEffectNoSchedule)), tolerates(corev1.Toleration{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}), oldKubelet},
		"another value is tolerated": {old(taint("gpu", corev1.TaintEffectNoSchedule)), tolerates(corev1.Toleration{Key: "gpu", Value: "no"}), ""},
		"one of two is tolerated":    {old(taint("gpu", corev1.TaintEffectNoSchedule), taint("team", corev1.TaintEffectNoSchedule)), tolerates(corev1.Toleration{Key: "gpu", Operator: corev1.TolerationOpExists}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			pod := tt.pod
			if pod == nil {
				pod = &corev1.Pod{}
			}
			assert.Equal(t, tt.want, inject.LacksImageVolumes(tt.nodes, pod))
		})
	}
}
