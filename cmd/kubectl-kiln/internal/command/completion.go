package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// completionTime is how long a shell waits for names.
const completionTime = 3 * time.Second

// completeVersions completes the first argument with the names of ModelVersions.
func (k *kiln) completeVersions(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return k.names(cmd.Context(), &v1alpha1.ModelVersionList{})
}

// completeModels completes the first argument with the names of Models.
func (k *kiln) completeModels(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return k.names(cmd.Context(), &v1alpha1.ModelList{})
}

// names returns the names of the objects of the namespace. A completion that fails
// completes nothing: its errors would be in the middle of what the user writes.
func (k *kiln) names(ctx context.Context, list client.ObjectList) ([]string, cobra.ShellCompDirective) {
	c, err := k.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	if err := c.List(ctx, list, client.InNamespace(c.namespace)); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	switch list := list.(type) {
	case *v1alpha1.ModelVersionList:
		newestFirst(list.Items)
		for i := range list.Items {
			names = append(names, list.Items[i].Name)
		}
	case *v1alpha1.ModelList:
		for i := range list.Items {
			names = append(names, list.Items[i].Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
