package command

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func (k *kiln) retry() *cobra.Command {
	var waits bool
	cmd := &cobra.Command{
		Use:   "retry VERSION",
		Short: "Request a new attempt to build a ModelVersion",
		Long: `Request a new attempt to build a ModelVersion, by the annotation
model.kubedl.io/rebuild.

For a ModelVersion that is ready, the attempt checks that the registry still has the
image, and pushes it again if not.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: k.completeVersions,
	}
	cmd.Flags().BoolVar(&waits, "wait", false, "wait until the attempt has ended, as kubectl kiln wait does")
	out := newOutput(cmd, "requested")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		printer, err := out.printer()
		if err != nil {
			return err
		}
		c, mv, err := k.connectTo(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if err := c.requestRebuild(cmd.Context(), mv); err != nil {
			return err
		}
		if err := printer.PrintObj(mv, k.Out); err != nil || !waits {
			return err
		}
		return k.waitFor(cmd.Context(), c, mv.Name, requested(mv), out.results(k))
	}
	return cmd
}

// requestRebuild changes the annotation that requests an attempt.
func (c *cluster) requestRebuild(ctx context.Context, mv *v1alpha1.ModelVersion) error {
	if len(mv.Status.Conditions) == 0 && mv.Status.ImageBuildPhase != "" && mv.Status.ImageBuildPhase != v1alpha1.ImageBuilding {
		return fmt.Errorf("KubeDL has finished ModelVersion %s, and its result is final: to build the files, create a new ModelVersion", mv.Name)
	}
	before := mv.DeepCopy()
	metav1.SetMetaDataAnnotation(&mv.ObjectMeta, v1alpha1.AnnotationRebuild, strconv.FormatInt(now().UnixMilli(), 10))
	return c.explain(c.Patch(ctx, mv, client.MergeFrom(before)), "ModelVersion", mv.Name)
}
