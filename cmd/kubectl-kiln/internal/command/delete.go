package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func (k *kiln) delete() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "delete VERSION",
		Short: "Delete a ModelVersion that no pod serves and no alias names",
		Long: `Delete a ModelVersion that no pod serves and no alias names.

With --force, it is deleted in any case: pods that run keep their files, and new pods are
rejected. The image stays in the registry.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: k.completeVersions,
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete a ModelVersion that is in use")
	out := newOutput(cmd, "deleted")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		printer, err := out.printer()
		if err != nil {
			return err
		}
		c, mv, err := k.connectTo(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if err := c.deleteVersion(cmd.Context(), mv, force); err != nil {
			return err
		}
		return printer.PrintObj(mv, k.Out)
	}
	return cmd
}

func (c *cluster) deleteVersion(ctx context.Context, mv *v1alpha1.ModelVersion, force bool) error {
	if force {
		return c.explain(c.forceDelete(ctx, mv), "ModelVersion", mv.Name)
	}
	if err := c.checkUnused(ctx, mv); err != nil {
		return err
	}
	return c.explain(c.Delete(ctx, mv, client.Preconditions{UID: &mv.UID}), "ModelVersion", mv.Name)
}

// forceDelete deletes a ModelVersion whatever uses it. If that is rejected, the ModelVersion
// stays protected.
func (c *cluster) forceDelete(ctx context.Context, mv *v1alpha1.ModelVersion) error {
	before := mv.DeepCopy()
	metav1.SetMetaDataAnnotation(&mv.ObjectMeta, v1alpha1.AnnotationForceDelete, "true")
	if err := c.Patch(ctx, mv, client.MergeFrom(before)); err != nil {
		return err
	}
	err := c.Delete(ctx, mv, client.Preconditions{UID: &mv.UID})
	if err == nil || before.Annotations[v1alpha1.AnnotationForceDelete] != "" {
		return err
	}
	forced := mv.DeepCopy()
	delete(mv.Annotations, v1alpha1.AnnotationForceDelete)
	if undo := c.Patch(context.WithoutCancel(ctx), mv, client.MergeFrom(forced)); client.IgnoreNotFound(undo) != nil {
		return fmt.Errorf("%w; and the annotation %s stays: %w", err, v1alpha1.AnnotationForceDelete, undo)
	}
	return err
}

// checkUnused returns an error if pods serve a ModelVersion, or if an alias names it.
func (c *cluster) checkUnused(ctx context.Context, mv *v1alpha1.ModelVersion) error {
	pods, err := c.servingPods(ctx, mv)
	if err != nil {
		return err
	}
	model := &v1alpha1.Model{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: mv.Spec.ModelName}, model); client.IgnoreNotFound(err) != nil {
		return c.explain(err, "Model", mv.Spec.ModelName)
	}
	var users []string
	for _, alias := range model.Spec.Aliases {
		// It can stand for one, and be meant to stand for another.
		if status := aliasStatus(model, alias.Name); alias.Version == mv.Name || status != nil && status.Version == mv.Name {
			users = append(users, fmt.Sprintf("alias %s of Model %s", alias.Name, model.Name))
		}
	}
	for _, line := range servedBy(mv, pods) {
		users = append(users, strings.Replace(line, "\t", " (", 1)+")")
	}
	if len(users) > 0 {
		return fmt.Errorf("ModelVersion %s is in use: %s. Serve another version first, or add --force: new pods are then rejected", mv.Name, strings.Join(users, ", "))
	}
	return nil
}
