package argo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// previousDir has the templates of the previous release, and Workflows that it created.
const previousDir = "../integration/testdata/previous"

// previousTemplate returns the template of the previous release that a Workflow
// references.
func previousTemplate(t *testing.T, wf *wfv1.Workflow) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	base := filepath.Join(previousDir, "workflow-templates", "kaniko", "modelkiln-build.yaml")
	if wf.Spec.WorkflowTemplateRef.Name == "modelkiln-build-stream" {
		return patched(t, base, filepath.Join(previousDir, "workflow-templates", "stream", "patch.yaml"))
	}
	var tmpl wfv1.ClusterWorkflowTemplate
	unmarshal(t, base, &tmpl)
	return &tmpl
}

func previousWorkflows(t *testing.T) map[string]*wfv1.Workflow {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(previousDir, "objects", "workflows.yaml"))
	require.NoError(t, err)
	workflows := map[string]*wfv1.Workflow{}
	for _, document := range strings.Split(string(raw), "---\n") {
		var wf wfv1.Workflow
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &wf))
		workflows[wf.Name] = &wf
	}
	return workflows
}

// A platform team's own template may still be that of the previous release. Storage
// that is new since then needs the new one.
func TestPreviousTemplate(t *testing.T) {
	isNew := map[string]bool{"s3": true, "huggingFace": true, "image": true}
	for name, wf := range goldenWorkflows(t) {
		if isNew[argumentsWith(template(t), wf)["workflow.parameters.storage-kind"]] {
			continue
		}
		t.Run(name, func(t *testing.T) { assertSameBuild(t, wf, templateOf(t, wf), previousTemplate(t, wf)) })
	}
}

// A Workflow that the previous release created may start after the upgrade.
func TestPreviousWorkflow(t *testing.T) {
	for name, wf := range previousWorkflows(t) {
		t.Run(name, func(t *testing.T) { assertSameBuild(t, wf, previousTemplate(t, wf), templateOf(t, wf)) })
	}
}

// assertSameBuild checks that Argo accepts a Workflow with both templates, and that the
// pod has the same steps and reads the same storage.
func assertSameBuild(t *testing.T, wf *wfv1.Workflow, made, other *wfv1.ClusterWorkflowTemplate) {
	t.Helper()
	other.Name = wf.Spec.WorkflowTemplateRef.Name
	require.NoError(t, validate.ValidateWorkflow(nil, templates{other}, wf, nil, validate.ValidateOpts{}))

	want, err := pod(made, argumentsWith(made, wf))
	require.NoError(t, err)
	got, err := pod(other, argumentsWith(other, wf))
	require.NoError(t, err)
	assert.Equal(t, source(t, want), source(t, got))
	assert.Equal(t, want.Affinity, got.Affinity)
	assert.Equal(t, containerNames(want), containerNames(got))
}

func containerNames(pod *corev1.PodSpec) []string {
	var names []string
	for _, container := range pod.Containers {
		names = append(names, container.Name)
	}
	return names
}
