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

// completeTwoVersions completes two arguments with the names of ModelVersions.
func (k *kiln) completeTwoVersions(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return k.completeVersions(cmd, args[min(len(args), 1):], toComplete)
}

// completeModels completes the first argument with the names of Models.
func (k *kiln) completeModels(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return k.names(cmd.Context(), &v1alpha1.ModelList{})
}

// completePromotion completes a Model, one of its aliases, and one of its ModelVersions.
func (k *kiln) completePromotion(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	switch {
	case len(args) == 0:
		return k.completeModels(cmd, args, toComplete)
	case len(args) == 1:
		return k.aliases(cmd.Context(), args[0])
	case cmd.Name() == "promote":
		return k.completeVersions(cmd, args[2:], toComplete)
	default:
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// aliases returns the names of a Model's aliases.
func (k *kiln) aliases(ctx context.Context, model string) ([]string, cobra.ShellCompDirective) {
	c, err := k.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	found, err := c.model(ctx, model)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, alias := range found.Spec.Aliases {
		names = append(names, alias.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
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
