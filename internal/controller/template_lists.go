package controller

import (
	"context"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/workflow"
)

// TemplateLists compares, when the operator starts, its configuration with the platform
// team's templates, and logs which lists of sources differ. Nothing else would show that
// a template lets users package what the configuration does not allow.
type TemplateLists struct {
	// Live reads templates, of which the cache has metadata only.
	Live client.Reader
	// Options are the settings of builds.
	Options workflow.Options
}

// Start compares them once. It is not an error if there are none yet.
func (l TemplateLists) Start(ctx context.Context) error {
	log := ctrl.LoggerFrom(ctx).WithName("template-lists")
	for _, name := range workflow.PlatformTemplates(l.Options) {
		var templates wfv1.ClusterWorkflowTemplateList
		// The operator may list templates, and not get one.
		if err := l.Live.List(ctx, &templates, client.MatchingFields{"metadata.name": name}); err != nil {
			log.Info("Cannot compare the lists of sources with those of a template", "ClusterWorkflowTemplate", name, "cause", err.Error())
			continue
		}
		for i := range templates.Items {
			for _, difference := range workflow.ListDifferences(&templates.Items[i], l.Options) {
				log.Info("The lists of sources differ", "difference", difference)
			}
		}
	}
	return nil
}
