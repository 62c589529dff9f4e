package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
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

// completeExport completes a ModelVersion and a directory.
func (k *kiln) completeExport(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return k.completeVersions(cmd, args, toComplete)
}

// completeDirectory completes the first argument with a directory.
func completeDirectory(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeModels completes the first argument with the names of Models.
func (k *kiln) completeModels(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return k.names(cmd.Context(), &v1alpha1.ModelList{})
}

// completeTargets completes the first argument with the names of the objects in the first
// list, and with KIND/NAME of those in the others.
func (k *kiln) completeTargets(bare client.ObjectList, others ...client.ObjectList) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, directive := k.names(cmd.Context(), bare)
		for _, list := range others {
			names, _ := k.names(cmd.Context(), list)
			for _, name := range names {
				all = append(all, prefixOf(list)+name)
			}
		}
		return all, directive
	}
}

// prefixOf returns what comes before the name in an argument of the form KIND/NAME.
func prefixOf(list client.ObjectList) string {
	if _, isPods := list.(*corev1.PodList); isPods {
		return "pod/"
	}
	return "mv/"
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
	name, err := modelName(model)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found, err := c.model(ctx, name)
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
	opts := []client.ListOption{client.InNamespace(c.namespace)}
	if _, isPods := list.(*corev1.PodList); isPods {
		opts = append(opts, client.HasLabels{v1alpha1.LabelServedVersionUID})
	}
	if err := c.List(ctx, list, opts...); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if versions, ok := list.(*v1alpha1.ModelVersionList); ok {
		newestFirst(versions.Items)
	}
	var names []string
	err = meta.EachListItem(list, func(item runtime.Object) error {
		object, err := meta.Accessor(item)
		if err == nil {
			names = append(names, object.GetName())
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
