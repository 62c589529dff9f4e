package argo

import (
	"fmt"
	"os"
	"strings"
	"testing"

	argoconfig "github.com/argoproj/argo-workflows/v3/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Argo's server accepts the columns and the link. Their labels are those of the operator's
// Workflows, and the one of Workflows that have failed (TestArgoColumns in test/docs).
func TestUserInterface(t *testing.T) {
	var cm corev1.ConfigMap
	unmarshal(t, "../../deploy/argo/workflow-controller-configmap.yaml", &cm)
	var text strings.Builder
	for name, value := range cm.Data {
		fmt.Fprintf(&text, "%s:\n  %s\n", name, strings.ReplaceAll(strings.TrimSpace(value), "\n", "\n  "))
	}
	var config argoconfig.Config
	require.NoError(t, yaml.UnmarshalStrict([]byte(text.String()), &config))

	require.Len(t, config.Columns, 4)
	for _, column := range config.Columns {
		assert.Equal(t, "label", column.Type, column.Name)
		if column.Name == "Reason" {
			continue
		}
		for name, wf := range goldenWorkflows(t) {
			assert.Contains(t, wf.Labels, column.Key, name)
		}
	}

	require.NoError(t, config.Sanitize([]string{"http", "https"}), "the default of Argo's server")
	require.Len(t, config.Links, 1)
	document, anchor, _ := strings.Cut(strings.TrimPrefix(config.Links[0].URL, "https://github.com/modelkiln/modelkiln/blob/main/"), "#")
	raw, err := os.ReadFile("../../" + document)
	require.NoError(t, err)
	heading := "## " + strings.ReplaceAll(anchor, "-", " ")
	assert.Contains(t, strings.ToLower(string(raw)), heading+"\n")
}
