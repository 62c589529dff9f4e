package controller

import (
	"context"
	"errors"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/go-logr/logr/funcr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// fakeTemplates is a reader of templates with the step mount-check, by name. It fails for
// the name "broken".
type fakeTemplates struct {
	client.Reader
	args map[string][]string
}

func (f fakeTemplates) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	o := client.ListOptions{}
	o.ApplyOptions(options)
	name, _ := o.FieldSelector.RequiresExactMatch("metadata.name")
	if name == "broken" {
		return errors.New("no matches for kind")
	}
	if args, found := f.args[name]; found {
		check := wfv1.ContainerNode{Container: corev1.Container{Name: contract.StepMountCheck, Args: args}}
		list.(*wfv1.ClusterWorkflowTemplateList).Items = []wfv1.ClusterWorkflowTemplate{{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       wfv1.WorkflowSpec{Templates: []wfv1.Template{{ContainerSet: &wfv1.ContainerSetTemplate{Containers: []wfv1.ContainerNode{check}}}}},
		}}
	}
	return nil
}

func TestTemplateLists(t *testing.T) {
	var logged []string
	log := funcr.New(func(_, line string) { logged = append(logged, line) }, funcr.Options{})
	opts := workflow.Options{WorkflowTemplate: "broken", StreamTemplate: "absent", NamespaceTemplates: map[string]string{"team-a": "same", "team-b": "open"}}
	opts.NFS.Allowed = []string{"nas.example.com"}
	reader := fakeTemplates{args: map[string][]string{"same": {"--allowed-nfs=nas.example.com"}, "open": {"--allowed-nfs="}}}

	require.NoError(t, TemplateLists{Live: reader, Options: opts}.Start(ctrl.LoggerInto(t.Context(), log)))

	require.Len(t, logged, 2)
	assert.Contains(t, logged[0], `"ClusterWorkflowTemplate"="broken"`)
	assert.Contains(t, logged[1], `--allowed-nfs of mount-check in ClusterWorkflowTemplate open is`)
}
