//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestTemplateEditedDuringBuild(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := newDirectory(t)
	dir.random(t, "weights.bin", 60<<20)
	template := copyOfTemplate(t, ns)
	live.create(t, template)
	live.deleteAfter(t, template)
	mv := makeVersion("under-way", ns, dir).WorkflowTemplate(ns).New()
	live.create(t, mv)
	live.running(t, mv)

	template.Spec.Templates = template.Spec.Templates[:1]
	template.Spec.Entrypoint = "nothing-of-that-name"
	require.NoError(t, live.Update(t.Context(), template))

	assertImage(t, live.ready(t, mv), dir)
	next, took := live.failed(t, makeVersion("next", ns, dir).Model("next").WorkflowTemplate(ns).New())
	assertFailed(t, next, v1alpha1.ReasonWorkflowFailed, "nothing-of-that-name")
	logNoticed(t, next, took)
}

// The example of a template with a further step, patched as its comment says.
func TestScanExample(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	dir := model(t)
	template := scanning(t, ns)
	live.create(t, template)
	live.deleteAfter(t, template)

	mv := live.built(t, makeVersion("liked", ns, dir).Model("liked").WorkflowTemplate(ns).New())
	assertImage(t, mv, dir)
	scans := 0
	for _, node := range live.workflow(t, mv).Status.Nodes {
		if node.DisplayName == "scan" && node.Phase == wfv1.NodeSucceeded {
			scans++
		}
	}
	assert.Equal(t, 1, scans)

	// This is another template, since Argo may see an edited one only a moment
	// later.
	strict := scanning(t, ns+"-strict")
	containerOf(t, strict, "scan").Args = []string{"-q", "a flaw that is not there", "/kiln/report.json"}
	live.create(t, strict)
	live.deleteAfter(t, strict)
	refused, took := live.failed(t, makeVersion("refused", ns, dir).Model("refused").WorkflowTemplate(strict.Name).New())
	assertFailed(t, refused, v1alpha1.ReasonWorkflowFailed, "scan: Error (exit code 1)")
	logNoticed(t, refused, took)
	var of v1alpha1.Model
	require.NoError(t, live.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "refused"}, &of))
	assert.Nil(t, of.Status.LatestVersion, "no Model names what the scanner does not like")
}

// scanning returns the template of the example that scans, under another name.
func scanning(t *testing.T, name string) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	template := exampleTemplate(t, "scan.yaml", name)
	containerOf(t, template, "scan").Image = live.registry + "/library/busybox:1.37"
	return template
}

// exampleTemplate returns the cluster's template with an example's patch on it, as
// kubectl applies that, under another name.
func exampleTemplate(t *testing.T, example, name string) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	base := copyOfTemplate(t, name)
	base.TypeMeta = metav1.TypeMeta{APIVersion: "argoproj.io/v1alpha1", Kind: "ClusterWorkflowTemplate"}
	raw, err := json.Marshal(base)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "template.json")
	require.NoError(t, os.WriteFile(file, raw, 0o644))
	patched := run(t, "kubectl", "patch", "--local", "-f", file, "--type=json", "--patch-file=../../workflow-templates/examples/"+example, "-o", "json")

	template := &wfv1.ClusterWorkflowTemplate{}
	require.NoError(t, json.Unmarshal([]byte(patched), template))
	template.Name = name // The patch renames it.
	return template
}
