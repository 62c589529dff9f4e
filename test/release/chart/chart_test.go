package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

func TestGenerated(t *testing.T) {
	outdated, err := Outdated(root)
	require.NoError(t, err)
	assert.Empty(t, outdated, "run make generate, and commit the result")
}

const (
	deploymentID = "Deployment modelkiln-system/modelkiln-controller-manager"
	configID     = "ConfigMap modelkiln-system/modelkiln-config"
)

// No object of an installation in another namespace refers to modelkiln-system, and the
// images are those of the values.
func TestChart_FollowsNamespaceAndImages(t *testing.T) {
	const values = everyOption + `
global: {imageRegistry: "mirror.example.com:5000"}
image: {operator: "registry.example.com/team/operator:v9", step: "registry.example.com/team/step:v9"}
`
	r, err := cluster{namespace: "kiln"}.render(t, values)
	require.NoError(t, err)
	content, err := yaml.Marshal([]objects{r.objects, r.tests})
	require.NoError(t, err)
	assert.NotContains(t, string(content), system)
	assert.NotContains(t, string(content), "_IMAGE")
	assert.NotContains(t, string(content), "IMAGE_")
	assert.NotContains(t, string(content), "RELEASE_NAMESPACE")
	assert.Equal(t, "mirror.example.com:5000/team/operator:v9",
		field(t, r.objects["Deployment kiln/modelkiln-controller-manager"], "spec", "template", "spec", "containers", 0, "image"))
	for _, want := range []string{"image: mirror.example.com:5000/team/step:v9", "image: mirror.example.com:5000/osscontainertools/kaniko:v", "baseImage: mirror.example.com:5000/library/busybox:"} {
		assert.Contains(t, string(content), want)
	}
	for _, host := range []string{"image: ghcr.io", "image: docker.io", "image: registry.example.com", "baseImage: docker.io"} {
		assert.NotContains(t, string(content), host)
	}
}

// A namespace can have a name that YAML would read as a number.
func TestChart_NumericNamespace(t *testing.T) {
	r, err := cluster{namespace: "123"}.render(t, strings.ReplaceAll(everyOption, "config: {", "config: {namespaces: [\"456\"], "))
	require.NoError(t, err)
	assert.Contains(t, r.objects, "Deployment 123/modelkiln-controller-manager")
	assert.Contains(t, r.tests, "Role 456/modelkiln-test")
	content, err := yaml.Marshal([]objects{r.objects, r.tests})
	require.NoError(t, err)
	assert.NotRegexp(t, `: (123|456)\n`, string(content))
}

// Hosts of registries are what image references take for one.
func TestChart_ImageRegistry(t *testing.T) {
	for image, want := range map[string]string{
		"registry.example.com/team/operator:v9": "mirror/team/operator:v9",
		"registry:5000/operator:v9":             "mirror/operator:v9",
		"localhost/team/operator:v9":            "mirror/team/operator:v9",
		"team/operator:v9":                      "mirror/team/operator:v9",
		"operator:v9":                           "mirror/operator:v9",
	} {
		deployment := mustRender(t, "{global: {imageRegistry: mirror}, image: {operator: '"+image+"'}}").objects[deploymentID]
		assert.Equal(t, want, field(t, deployment, "spec", "template", "spec", "containers", 0, "image"), image)
	}
}

func TestChart_CRDs(t *testing.T) {
	const versions = "CustomResourceDefinition /modelversions.model.kubedl.io"
	assert.NotContains(t, mustRender(t, `crds: {enabled: false}`).objects, versions)
	annotations := field(t, mustRender(t, `crds: {keep: false}`).objects[versions], "metadata", "annotations")
	assert.NotContains(t, annotations, "helm.sh/resource-policy")
}

func TestChart_Argo(t *testing.T) {
	const template = "ClusterWorkflowTemplate /modelkiln-build"
	const missing = "MISSING: Argo Workflows."
	installed := mustRender(t, "")
	assert.Contains(t, installed.objects, template)
	assert.NotContains(t, installed.notes, "MISSING")
	assert.Contains(t, installed.notes, "kubectl label namespace modelkiln-system pod-security.kubernetes.io/enforce=restricted\n")

	r, err := cluster{namespace: system, withoutArgo: true}.render(t, "")
	require.NoError(t, err)
	assert.NotContains(t, r.objects, template)
	assert.Contains(t, r.notes, missing)

	without := mustRender(t, `workflowTemplates: {enabled: false}`)
	assert.NotContains(t, without.objects, template)
	assert.Contains(t, without.notes, "MISSING: the ClusterWorkflowTemplates")
	assert.Contains(t, mustRender(t, `crds: {enabled: false}`).notes, "MISSING: the CRDs")
}

func TestChart_Pods(t *testing.T) {
	const values = `
global: {imagePullSecrets: [{name: mirror}]}
replicas: 3
pod:
  labels: {team: ml, app.kubernetes.io/name: other}
  annotations: {example.com/owner: ml}
  nodeSelector: {disk: ssd}
  tolerations: [{key: control-plane, operator: Exists}]
  affinity: {nodeAffinity: {}}
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
  priorityClassName: system-cluster-critical
  resources: {requests: {cpu: 1}, limits: {memory: 2Gi}}
`
	deployment := mustRender(t, values).objects[deploymentID]
	assert.EqualValues(t, 3, field(t, deployment, "spec", "replicas"))
	template := field(t, deployment, "spec", "template")
	assert.Equal(t, map[string]any{"app.kubernetes.io/name": "modelkiln", "app.kubernetes.io/component": "controller", "team": "ml"},
		field(t, template, "metadata", "labels"), "the selector matches the pods")
	assert.Equal(t, "ml", field(t, template, "metadata", "annotations", "example.com/owner"))
	spec := field(t, template, "spec")
	for path, want := range map[string]any{
		"imagePullSecrets":          []any{map[string]any{"name": "mirror"}},
		"nodeSelector":              map[string]any{"disk": "ssd"},
		"tolerations":               []any{map[string]any{"key": "control-plane", "operator": "Exists"}},
		"affinity":                  map[string]any{"nodeAffinity": map[string]any{}},
		"topologySpreadConstraints": []any{map[string]any{"maxSkew": float64(1), "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}},
		"priorityClassName":         "system-cluster-critical",
	} {
		assert.Equal(t, want, field(t, spec, path), path)
	}
	container := field(t, spec, "containers", 0)
	assert.Equal(t, map[string]any{
		"requests": map[string]any{"cpu": float64(1), "memory": "64Mi"},
		"limits":   map[string]any{"memory": "2Gi"},
	}, field(t, container, "resources"))
	assert.Contains(t, field(t, container, "env"), map[string]any{"name": "GOMEMLIMIT", "value": "1843MiB"}, "90% of the limit")
}

// A changed configuration rolls out the Deployment.
func TestChart_ConfigChecksum(t *testing.T) {
	checksum := func(values string) any {
		return field(t, mustRender(t, values).objects[deploymentID], "spec", "template", "metadata", "annotations", "checksum/config")
	}
	assert.Equal(t, checksum(""), checksum(`replicas: 3`))
	assert.NotEqual(t, checksum(""), checksum(`config: {engine: Stream}`))
}

func TestChart_DisruptionBudget(t *testing.T) {
	const budget = "PodDisruptionBudget modelkiln-system/modelkiln-controller-manager"
	assert.Contains(t, mustRender(t, "").objects, budget)
	assert.NotContains(t, mustRender(t, `podDisruptionBudget: {enabled: false}`).objects, budget)
	assert.NotContains(t, mustRender(t, `replicas: 1`).objects, budget, "it would block the drain of the node")
}

func TestChart_WithoutWebhook(t *testing.T) {
	r := mustRender(t, `{webhook: {enabled: false}, networkPolicy: {enabled: true}}`)
	for id := range r.objects {
		assert.NotContains(t, id, "WebhookConfiguration")
		assert.NotContains(t, id, "modelkiln-webhook")
	}
	assert.Contains(t, field(t, r.objects[deploymentID], "spec", "template", "spec", "containers", 0, "args"), "--webhook-bind-address=0")
}

// A namespace that is listed twice has its bindings once: mustRender refuses duplicates.
func TestChart_RepeatedNamespaces(t *testing.T) {
	assert.Contains(t, mustRender(t, `config: {namespaces: [team-a, team-a]}`).objects, "RoleBinding team-a/modelkiln-namespaced")
}

// The chart does with config.namespaces what deploy/components/namespaced,
// deploy/namespaced and patches of the webhook do.
func TestChart_Namespaces(t *testing.T) {
	r := mustRender(t, `config: {namespaces: [team-a, team-b]}`)
	want := kustomized(t, Kustomization{Resources: []string{"deploy/namespaced"}})
	require.Len(t, want, 3)
	for _, binding := range want {
		for _, namespace := range []string{"team-a", "team-b"} {
			field(t, binding, "metadata").(map[string]any)["namespace"] = namespace
			assert.Equal(t, binding, r.objects[identity(binding)])
		}
		name := field(t, binding, "metadata", "name").(string)
		assert.NotContains(t, r.objects, "ClusterRoleBinding /"+name)
	}
	served := map[string]any{"matchExpressions": []any{map[string]any{
		"key": "kubernetes.io/metadata.name", "operator": "In", "values": []any{"team-a", "team-b"},
	}}}
	selectors := map[string]any{}
	for _, id := range []string{"MutatingWebhookConfiguration /modelkiln-pods", "ValidatingWebhookConfiguration /modelkiln-workloads"} {
		for _, webhook := range field(t, r.objects[id], "webhooks").([]any) {
			selectors[field(t, webhook, "name").(string)] = field(t, webhook, "namespaceSelector")
		}
	}
	assert.Equal(t, map[string]any{
		"training.model.kubedl.io": served, "serving-version.model.kubedl.io": served, "serving-model.model.kubedl.io": served,
		"promoter.model.kubedl.io": served, "deletion.model.kubedl.io": served,
		// Namespaces are labeled for it.
		"workloads.model.kubedl.io": map[string]any{"matchLabels": map[string]any{"model.kubedl.io/versions-from-workloads": "true"}},
		// Nothing depends on these.
		"creator.model.kubedl.io": nil, "copies.model.kubedl.io": nil,
	}, selectors)
}

func TestChart_Monitoring(t *testing.T) {
	const (
		monitor   = "ServiceMonitor modelkiln-system/modelkiln"
		rule      = "PrometheusRule modelkiln-system/modelkiln"
		dashboard = "ConfigMap modelkiln-system/modelkiln-dashboard"
		binding   = "ClusterRoleBinding /modelkiln-metrics-prometheus"
	)
	tests := map[string]struct {
		values string
		want   []string
	}{
		"off by default":  {"", nil},
		"service monitor": {`monitoring: {serviceMonitor: {enabled: true}}`, []string{monitor, binding}},
		"alerts":          {`monitoring: {prometheusRule: {enabled: true}}`, []string{rule}},
		"dashboard":       {`monitoring: {dashboard: {enabled: true}}`, []string{dashboard}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			installed := mustRender(t, tt.values).objects
			for _, id := range []string{monitor, rule, dashboard, binding} {
				assert.Equal(t, slices.Contains(tt.want, id), installed[id] != nil, id)
			}
		})
	}

	const values = `
monitoring:
  labels: {release: prometheus, app.kubernetes.io/name: other}
  serviceMonitor: {enabled: true, serviceAccount: {name: prometheus, namespace: observability}}
  prometheusRule: {enabled: true}
  dashboard: {enabled: true, labels: {grafana_dashboard: null, dashboards: kiln}}
`
	r, err := cluster{namespace: "kiln"}.render(t, values)
	require.NoError(t, err)
	in := func(id string) map[string]any { return r.objects[strings.Replace(id, system, "kiln", 1)] }
	for _, id := range []string{monitor, rule} {
		labels := field(t, in(id), "metadata", "labels").(map[string]any)
		assert.Equal(t, "prometheus", labels["release"], id)
		assert.Equal(t, "modelkiln", labels["app.kubernetes.io/name"], id)
	}
	assert.Equal(t, map[string]any{"dashboards": "kiln"}, field(t, in(dashboard), "metadata", "labels"))
	assert.Equal(t, map[string]any{"kind": "ServiceAccount", "name": "prometheus", "namespace": "observability"}, field(t, in(binding), "subjects", 0))
	assert.Contains(t, field(t, in(rule), "spec", "groups", 0, "rules", 0, "annotations", "description"), "kubectl get pods -n kiln, and kubectl logs -n kiln deploy/modelkiln-controller-manager")
}

// helm test runs the operator's program with as few permissions as it needs, and leaves
// nothing.
func TestChart_Test(t *testing.T) {
	tests := map[string]struct {
		values, served string
		args           []any
	}{
		"default":         {"", system, []any{"--check=" + system}},
		"some namespaces": {`config: {namespaces: [team-a, team-b]}`, "team-a", []any{"--check=team-a"}},
		"without webhook": {`webhook: {enabled: false}`, system, []any{"--check=" + system, "--webhook-bind-address=0"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := mustRender(t, tt.values)
			pod := "Pod " + system + "/modelkiln-test"
			role := "Role " + tt.served + "/modelkiln-test"
			binding := "RoleBinding " + tt.served + "/modelkiln-test"
			assert.ElementsMatch(t, []string{"ServiceAccount " + system + "/modelkiln-test", role, binding, pod}, slices.Collect(maps.Keys(r.tests)))
			for id, object := range r.tests {
				assert.Equal(t, "test", field(t, object, "metadata", "annotations", "helm.sh/hook"), id)
				assert.Equal(t, "before-hook-creation,hook-succeeded", field(t, object, "metadata", "annotations", "helm.sh/hook-delete-policy"), id)
				assert.Equal(t, "test", field(t, object, "metadata", "labels", "app.kubernetes.io/component"), "the Services and the PodDisruptionBudget do not select it")
			}
			assert.Equal(t, []any{
				map[string]any{"apiGroups": []any{"model.kubedl.io"}, "resources": []any{"modelversions"}, "verbs": []any{"list"}},
				map[string]any{"apiGroups": []any{"model.kubedl.io"}, "resources": []any{"models"}, "verbs": []any{"create"}},
			}, field(t, r.tests[role], "rules"))
			assert.Equal(t, map[string]any{"kind": "ServiceAccount", "name": "modelkiln-test", "namespace": system}, field(t, r.tests[binding], "subjects", 0))
			assert.Equal(t, "1", field(t, r.tests[pod], "metadata", "annotations", "helm.sh/hook-weight"), "after its permissions")

			container := field(t, r.tests[pod], "spec", "containers", 0)
			operator := field(t, r.objects[deploymentID], "spec", "template", "spec", "containers", 0)
			assert.Equal(t, tt.args, field(t, container, "args"))
			for _, same := range []string{"image", "command", "securityContext"} {
				assert.Equal(t, field(t, operator, same), field(t, container, same), same)
			}
			assert.Equal(t, field(t, r.objects[deploymentID], "spec", "template", "spec", "securityContext"), field(t, r.tests[pod], "spec", "securityContext"))
		})
	}

	const values = `
global: {imagePullSecrets: [{name: mirror}]}
pod: {nodeSelector: {disk: ssd}, tolerations: [{key: control-plane, operator: Exists}]}
`
	spec := field(t, mustRender(t, values).tests["Pod "+system+"/modelkiln-test"], "spec").(map[string]any)
	for _, same := range []string{"imagePullSecrets", "nodeSelector", "tolerations"} {
		assert.NotEmpty(t, spec[same], "where the operator can run, its test can")
	}
}

func TestChart_Policy(t *testing.T) {
	const values = `
policy:
  enabled: true
  lists: {allowedStorage: [nfs, s3], team-a.allowedEFS: [], defaultRegistry: registry.example.com}
  workflows: {enabled: true, controllers: ["system:serviceaccount:argo:a", "system:serviceaccount:argo:b"]}
networkPolicy: {enabled: true, webhookFrom: [{ipBlock: {cidr: 10.0.0.0/8}}]}
`
	r := mustRender(t, values)
	lists := field(t, r.objects["ConfigMap modelkiln-system/modelkiln-bounds"], "data").(map[string]any)
	assert.Equal(t, "nfs\ns3\n", lists["allowedStorage"])
	assert.Empty(t, strings.TrimSpace(lists["team-a.allowedEFS"].(string)))
	assert.Contains(t, lists, "team-a.allowedEFS", "an empty list allows nothing")
	assert.Equal(t, "registry.example.com", lists["defaultRegistry"])
	assert.Equal(t, "system:serviceaccount:argo:a\nsystem:serviceaccount:argo:b\n",
		field(t, r.objects["ConfigMap modelkiln-system/modelkiln-argo"], "data", "controllers"))
	from := field(t, r.objects["NetworkPolicy modelkiln-system/modelkiln-webhook"], "spec", "ingress", 0, "from")
	assert.Equal(t, []any{map[string]any{"ipBlock": map[string]any{"cidr": "10.0.0.0/8"}}}, from)
}
