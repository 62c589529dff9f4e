package chart

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resmap"
)

func TestUntagged(t *testing.T) {
	t.Parallel()
	const digest = "@sha256:e2e927ec666bae08560abb3c55d0659eceabb657f56b6782ab500a9fc7f555e3"
	for reference, want := range map[string]string{
		"registry.example.com:5000/kaniko":               "registry.example.com:5000/kaniko",
		"registry.example.com:5000/kaniko:v1":            "registry.example.com:5000/kaniko",
		"registry.example.com:5000/kaniko:v1" + digest:   "registry.example.com:5000/kaniko",
		"registry.example.com:5000/team/kaniko" + digest: "registry.example.com:5000/team/kaniko",
	} {
		assert.Equal(t, want, Untagged(reference))
	}
}

func TestImages_Wrong(t *testing.T) {
	const operator = "{kind: Deployment, metadata: {name: a}, spec: {template: {spec: {containers: [{image: r/modelkiln:v1}]}}}}\n---\n" +
		"{kind: ConfigMap, metadata: {name: a}, data: {config.yaml: 'baseImage: base'}}\n---\n"
	tests := map[string]struct{ steps, want string }{
		"no steps":     {"[]", "deploy/default does not name the images of the operator, of the steps and of Kaniko, and baseImage"},
		"two versions": {"[{image: r/modelkiln-step:v1}, {image: r/kaniko:v1}, {image: r/modelkiln-step:v2}]", "the workflow templates name both r/modelkiln-step:v1 and r/modelkiln-step:v2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			template := "{kind: ClusterWorkflowTemplate, metadata: {name: a}, spec: {templates: [{containerSet: {containers: " + tt.steps + "}}]}}"
			_, err := Images(parsed(t, operator+template))
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func parsed(t *testing.T, manifests string) resmap.ResMap {
	t.Helper()
	resources, err := resmap.NewFactory(provider.NewDefaultDepProvider().GetResourceFactory()).NewResMapFromBytes([]byte(manifests))
	require.NoError(t, err)
	return resources
}
