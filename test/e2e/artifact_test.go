//go:build e2e

package e2e

import (
	"bytes"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// Argo downloads the model, and the steps package it, with Argo alone.
func TestArtifactExample(t *testing.T) {
	t.Parallel()
	s := live.submitter(t)
	dir := model(t)
	// Argo refuses an archive of ".".
	archive := run(t, "tar", "-C", filepath.Dir(string(dir)), "-cz", filepath.Base(string(dir)))
	server := live.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/models/resnet/1.tar.gz" {
			http.NotFound(w, r)
			return
		}
		_, _ = bytes.NewReader([]byte(archive)).WriteTo(w)
	}))
	template := exampleTemplate(t, "artifact.yaml", s.namespace)
	for i := range template.Spec.Templates {
		for j := range template.Spec.Templates[i].Inputs.Artifacts {
			location := template.Spec.Templates[i].Inputs.Artifacts[j].HTTP
			location.URL = strings.Replace(location.URL, "https://files.example.com", server, 1)
		}
	}
	live.create(t, template)
	live.deleteAfter(t, template)

	image := live.registry + "/e2e/" + s.namespace + ":v1"
	name, err := try(t.Context(), "argo", "submit", "--from", "clusterworkflowtemplate/"+template.Name, "-n", s.namespace, "--as", s.user, "-o", "name",
		"-p", contract.ParamImage+"="+image, "-p", "file=resnet/1.tar.gz")
	require.NoError(t, err)

	wf := live.finished(t, s.namespace, strings.TrimSpace(name))
	require.Equal(t, wfv1.WorkflowSucceeded, wf.Status.Phase, wf.Status.Message)
	assert.Equal(t, dir.entries(t), content.OfImage(t, image).Model)
}
