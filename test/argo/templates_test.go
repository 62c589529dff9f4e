package argo

import (
	"flag"
	"os"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var update = flag.Bool("update", false, "write the golden files")

// templates is a getter of ClusterWorkflowTemplates for Argo's validation.
type templates []*wfv1.ClusterWorkflowTemplate

// Get returns the template with the name, or a NotFound error.
func (list templates) Get(name string) (*wfv1.ClusterWorkflowTemplate, error) {
	for _, tmpl := range list {
		if tmpl.Name == name {
			return tmpl, nil
		}
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "clusterworkflowtemplates"}, name)
}

// golden compares got with a golden file. test/golden cannot be used: it would
// add the dependencies of the operator's module to this module.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run the test with -update to write the golden file")
	assert.Equal(t, string(want), string(got))
}
