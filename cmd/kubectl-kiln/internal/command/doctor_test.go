package command

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// TestDoctor runs on an API server without the operator, Argo's controller and nodes of
// its own.
func TestDoctor(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t, levelLabel+"=restricted")
	code, out, complaint := call(t, editor, ns, "doctor")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "ok    Kubernetes v1.")
	assert.Contains(t, out, "-     not checked: container runtimes of the nodes\n      you have no permission to read it; a cluster administrator can run this check")
	assert.Contains(t, out, "ok    Argo Workflows is installed")
	assert.Contains(t, out, "ok    Models and ModelVersions are installed")
	assert.Contains(t, out, "ok    you may create ModelVersions in namespace "+ns)
	assert.Contains(t, out, "-     not checked: the operator")
	assert.Contains(t, out, "FAIL  ClusterWorkflowTemplate modelkiln-build does not exist\n      kubectl apply --server-side -k workflow-templates")
	assert.Contains(t, out, "FAIL  ClusterWorkflowTemplate modelkiln-promote does not exist")
	assert.Contains(t, out, "FAIL  the webhook does not answer")
	assert.Contains(t, out, "warn  namespace "+ns+" has the Pod Security level restricted: only the engine Stream can run")
	assert.Contains(t, out, "-     not checked: Secret "+ns+"/regcred")
	assert.Equal(t, "error: 4 of the checks failed\n", complaint)

	code, out, complaint = call(t, viewer, ns, "doctor", "--pre")
	assert.Equal(t, exitOK, code, complaint)
	assert.NotContains(t, out, "webhook")
	code, out, _ = call(t, stranger, ns, "doctor")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "warn  you may not create ModelVersions in namespace "+ns)
	assert.Contains(t, out, "-     not checked: the webhook")
	assert.Contains(t, out, "-     not checked: the quotas of namespace "+ns)
}

func TestKubernetesResults(t *testing.T) {
	tests := map[string]struct {
		server version.Info
		want   verdict
		text   string
	}{
		"current":              {version.Info{Major: "1", Minor: "35", GitVersion: "v1.35.4"}, good, "Kubernetes v1.35.4"},
		"without image volume": {version.Info{Major: "1", Minor: "33", GitVersion: "v1.33.1-eks-1"}, good, "Kubernetes v1.33.1-eks-1: served pods copy the model"},
		"too old":              {version.Info{Major: "1", Minor: "30", GitVersion: "v1.30.0"}, bad, "Kubernetes v1.30.0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := kubernetesResults(tt.server)
			require.Len(t, got, 1)
			assert.Equal(t, tt.want, got[0].verdict)
			assert.Contains(t, got[0].what, tt.text)
		})
	}
}

func nodeWith(runtime string) corev1.Node {
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gpu-1"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.35.0", ContainerRuntimeVersion: runtime}}}
}

func TestNodeResults(t *testing.T) {
	tests := map[string]struct {
		nodes []corev1.Node
		want  result
	}{
		"none":       {nil, result{bad, "the cluster has no nodes", "builds wait for a node"}},
		"new":        {[]corev1.Node{nodeWith("containerd://2.2.1"), nodeWith("containerd://2.2.1")}, result{good, "containerd://2.2.1 on 2 of 2 nodes: mounts images as volumes", ""}},
		"old, mixed": {[]corev1.Node{nodeWith("containerd://2.2.1"), nodeWith("containerd://1.7.1")}, result{warning, "containerd://1.7.1 on 1 of 2 nodes, containerd://2.2.1 on 1 of 2 nodes", "node gpu-1 runs containerd://1.7.1, and image volumes with a subPath need containerd 2.2 (of k3s and RKE2 2.3) or CRI-O 1.33; served pods copy the model with an init container"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, []result{tt.want}, nodeResults(tt.nodes))
		})
	}
}

func deployment(namespace, image string, available int32, args ...string) appsv1.Deployment {
	d := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "controller"}, Status: appsv1.DeploymentStatus{AvailableReplicas: available}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: image, Args: args}}
	return d
}

func TestArgoResults(t *testing.T) {
	const image = "quay.io/argoproj/workflow-controller"
	tests := map[string]struct {
		controllers []appsv1.Deployment
		want        result
	}{
		"none":                        {nil, result{warning, "Argo's kinds are installed, and no Deployment with Argo's controller was found", "builds start when a controller runs: kubectl get deployments -A | grep workflow-controller"}},
		"cluster-wide":                {[]appsv1.Deployment{deployment("argo", image+":v3.7.18", 1)}, result{good, "Argo Workflows v3.7.18 in namespace argo: watches all namespaces", ""}},
		"by digest":                   {[]appsv1.Deployment{deployment("argo", "registry:5000/"+image+":v3.7.18@"+digest, 1)}, result{good, "Argo Workflows v3.7.18 in namespace argo: watches all namespaces", ""}},
		"too old":                     {[]appsv1.Deployment{deployment("argo", image+":v3.5.2", 1)}, result{bad, "Argo Workflows v3.5.2 in namespace argo", "Modelkiln needs Argo Workflows 3.7: upgrade it"}},
		"not available":               {[]appsv1.Deployment{deployment("argo", image+":v3.7.18", 0)}, result{bad, "Argo Workflows v3.7.18 in namespace argo: its controller is not available", "kubectl describe deployment -n argo controller"}},
		"namespaced":                  {[]appsv1.Deployment{deployment("argo", image+":v3.7.18", 1, "--namespaced")}, result{warning, "Argo Workflows v3.7.18 in namespace argo watches one namespace only (--namespaced)", "builds in other namespaces do not start, and its role needs ClusterWorkflowTemplates: see deploy/README.md"}},
		"in a namespace of that name": {[]appsv1.Deployment{deployment("latest", image+":v3.7.18", 1)}, result{good, "Argo Workflows v3.7.18 in namespace latest: watches all namespaces", ""}},
		"moving release":              {[]appsv1.Deployment{deployment("argo", image+":latest", 1)}, result{warning, "Argo Workflows latest in namespace argo", "pin the version of Argo's images"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, []result{tt.want}, argoResults(tt.controllers))
		})
	}
	other := deployment("argo", "quay.io/argoproj/argocli:v3.7.18", 1)
	assert.Nil(t, argoController(&other))
}

func TestArgoMode(t *testing.T) {
	for data, want := range map[string]string{
		"templateReferencing: Strict\n":     "templateReferencing: Strict",
		"templateReferencing: Secure":       "templateReferencing: Secure",
		`{"templateReferencing": "Secure"}`: "templateReferencing: Secure",
		"# templateReferencing: Strict\n":   "templateReferencing is not set",
		"":                                  "templateReferencing is not set",
	} {
		assert.Equal(t, want, argoMode(&corev1.ConfigMap{Data: map[string]string{"workflowRestrictions": data}}).what, data)
	}
	all := map[string]string{"config": "workflowRestrictions:\n  templateReferencing: Strict\n"}
	assert.Equal(t, "templateReferencing: Strict", argoMode(&corev1.ConfigMap{Data: all}).what)
}

func TestOperatorResult(t *testing.T) {
	tests := map[string]struct {
		found []appsv1.Deployment
		want  verdict
		text  string
	}{
		"none":          {nil, bad, "the operator is not installed"},
		"available":     {[]appsv1.Deployment{deployment("modelkiln-system", "r/modelkiln:v0.2.0", 1)}, good, "operator v0.2.0 in namespace modelkiln-system"},
		"by digest":     {[]appsv1.Deployment{deployment("modelkiln-system", "r/modelkiln@"+digest, 1)}, good, "operator r/modelkiln@" + digest + " in namespace modelkiln-system"},
		"not available": {[]appsv1.Deployment{deployment("modelkiln-system", "r/modelkiln:v0.2.0", 0)}, bad, "operator v0.2.0 in namespace modelkiln-system is not available"},
		"two":           {[]appsv1.Deployment{deployment("a", "r/modelkiln:v0.2.0", 1), deployment("b", "r/modelkiln:v0.2.0", 1)}, bad, "2 operators are installed, in the namespaces a and b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := operatorResult(tt.found)
			assert.Equal(t, tt.want, got.verdict)
			assert.Equal(t, tt.text, got.what)
			assert.Equal(t, tt.want == bad, got.advice != "", "what to do about it")
		})
	}
}

func TestTemplateResult(t *testing.T) {
	template := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"templates": []any{
		map[string]any{"containerSet": map[string]any{"containers": []any{map[string]any{"name": "main"}, map[string]any{"name": "mount-check", "image": "r/modelkiln-step:v0.2.0"}}}},
	}}}}
	assert.Equal(t, result{good, "template modelkiln-build runs r/modelkiln-step:v0.2.0", ""}, templateResult("modelkiln-build", template, nil))
	promotes := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"templates": []any{
		map[string]any{"containerSet": map[string]any{"containers": []any{map[string]any{"name": "promote", "image": "r/modelkiln-step:v0.2.0"}}}},
	}}}}
	assert.Equal(t, "r/modelkiln-step:v0.2.0", stepImage(promotes))
	missing := apierrors.NewNotFound(schema.GroupResource{Group: "argoproj.io", Resource: "clusterworkflowtemplates"}, "modelkiln-build")
	assert.Equal(t, bad, templateResult("modelkiln-build", nil, missing).verdict)
	assert.Equal(t, unknown, templateResult("modelkiln-build", nil, errors.New("broken")).verdict)
	assert.Equal(t, "unknown", stepImage(&unstructured.Unstructured{Object: map[string]any{}}))
}

func TestWebhookResult(t *testing.T) {
	answered := &v1alpha1.ModelVersion{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AnnotationCreatedByUser: "ann"}}}
	assert.Equal(t, result{good, "the webhook answers", ""}, webhookResult(answered, nil))
	assert.Equal(t, bad, webhookResult(&v1alpha1.ModelVersion{}, nil).verdict)
	assert.Equal(t, unknown, webhookResult(nil, errors.New("broken")).verdict)
}

func TestLevelResult(t *testing.T) {
	for level, want := range map[string]verdict{"": good, "privileged": good, "baseline": good, "restricted": warning} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-a", Labels: map[string]string{levelLabel: level}}}
		got := levelResult(namespace)
		assert.Equal(t, want, got.verdict, level)
		if level == "baseline" || level == "restricted" {
			assert.Contains(t, got.advice, "kubectl label namespace team-a pod-security.kubernetes.io/enforce=")
		}
	}
}

func TestQuotaResults(t *testing.T) {
	list := func(name corev1.ResourceName, amount string) corev1.ResourceList {
		return corev1.ResourceList{name: resource.MustParse(amount)}
	}
	quota := func(name corev1.ResourceName, hard, used string) corev1.ResourceQuota {
		return corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "compute"}, Spec: corev1.ResourceQuotaSpec{Hard: list(name, hard)}, Status: corev1.ResourceQuotaStatus{Hard: list(name, hard), Used: list(name, used)}}
	}
	limits := func(item corev1.LimitRangeItem) []corev1.LimitRange {
		item.Type = corev1.LimitTypeContainer
		return []corev1.LimitRange{{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{item}}}}
	}
	scoped := quota("pods", "10", "10")
	scoped.Spec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}
	tests := map[string]struct {
		quotas []corev1.ResourceQuota
		ranges []corev1.LimitRange
		want   verdict
		text   string
	}{
		"none":                    {nil, nil, good, "no quota limits the namespace"},
		"room":                    {[]corev1.ResourceQuota{quota("pods", "10", "2")}, nil, good, "ResourceQuota compute leaves room for builds"},
		"exhausted":               {[]corev1.ResourceQuota{quota("pods", "10", "10")}, nil, bad, "ResourceQuota compute: pods is exhausted (10 of 10)"},
		"no pods":                 {[]corev1.ResourceQuota{quota("pods", "0", "0")}, nil, bad, "ResourceQuota compute: pods is exhausted (0 of 0)"},
		"exhausted for others":    {[]corev1.ResourceQuota{quota("persistentvolumeclaims", "1", "1")}, nil, good, "ResourceQuota compute leaves room for builds"},
		"exhausted in a scope":    {[]corev1.ResourceQuota{scoped}, nil, warning, "ResourceQuota compute: pods is exhausted (10 of 10)"},
		"limits without default":  {[]corev1.ResourceQuota{quota("limits.cpu", "10", "2")}, nil, warning, "ResourceQuota compute counts limits.cpu, and no LimitRange of the namespace has a default for it"},
		"limits with default":     {[]corev1.ResourceQuota{quota("limits.cpu", "10", "2")}, limits(corev1.LimitRangeItem{Default: list("cpu", "1")}), good, "ResourceQuota compute leaves room for builds"},
		"requests with default":   {[]corev1.ResourceQuota{quota("requests.cpu", "10", "2")}, limits(corev1.LimitRangeItem{DefaultRequest: list("cpu", "1")}), good, "ResourceQuota compute leaves room for builds"},
		"default for limits only": {[]corev1.ResourceQuota{quota("requests.cpu", "10", "2")}, limits(corev1.LimitRangeItem{Default: list("cpu", "1")}), warning, "ResourceQuota compute counts requests.cpu, and no LimitRange of the namespace has a default for it"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := quotaResults(tt.quotas, tt.ranges)
			require.Len(t, got, 1)
			assert.Equal(t, tt.want, got[0].verdict)
			assert.Equal(t, tt.text, got[0].what)
		})
	}
}

func TestSecretResult(t *testing.T) {
	secret := func(kind corev1.SecretType, content string) *corev1.Secret {
		return &corev1.Secret{Type: kind, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(content)}}
	}
	const password = "s3cret"
	const content = `{"auths": {"registry.example.com": {"username": "robot", "password": "` + password + `"}}}`
	tests := map[string]struct {
		secret *corev1.Secret
		target string
		want   verdict
		text   string
	}{
		"missing":        {nil, "", warning, "Secret team-a/regcred does not exist"},
		"other type":     {secret(corev1.SecretTypeOpaque, content), "", bad, "Secret team-a/regcred is of type Opaque"},
		"not JSON":       {secret(corev1.SecretTypeDockerConfigJson, password), "", bad, "Secret team-a/regcred does not contain a Docker configuration"},
		"no target":      {secret(corev1.SecretTypeDockerConfigJson, content), "", good, "Secret team-a/regcred exists"},
		"has registry":   {secret(corev1.SecretTypeDockerConfigJson, content), "registry.example.com", good, "has an entry for registry.example.com"},
		"has repository": {secret(corev1.SecretTypeDockerConfigJson, content), "registry.example.com/models", good, "has an entry for registry.example.com/models"},
		"other registry": {secret(corev1.SecretTypeDockerConfigJson, content), "docker.io/library", bad, "has no entry for docker.io/library"},
		"invalid target": {secret(corev1.SecretTypeDockerConfigJson, content), "https://registry.example.com", bad, `"https://registry.example.com" is not a registry or repository`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := secretResult(tt.secret, "team-a", "regcred", tt.target)
			assert.Equal(t, tt.want, got.verdict, got)
			assert.Contains(t, got.what, tt.text)
			assert.NotContains(t, got.what+got.advice, password)
		})
	}
}
