package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Users copy the samples: the API server must accept them unchanged.
func TestSamples(t *testing.T) {
	s := newSandbox(t, shared)
	files, err := filepath.Glob("../../deploy/samples/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			objects, err := readManifests(file)
			require.NoError(t, err)
			for _, o := range objects {
				if !strings.HasPrefix(o.GetKind(), "ValidatingAdmissionPolicy") {
					o.SetNamespace(s.namespace)
				}
				require.NoError(t, s.client.Create(t.Context(), o, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)))
			}
		})
	}
}
