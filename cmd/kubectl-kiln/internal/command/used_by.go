package command

import (
	"context"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/console"
)

func (k *kiln) usedBy() *cobra.Command {
	u := &usageQuery{kiln: k}
	cmd := &cobra.Command{
		Use:     "used-by (VERSION | --dataset URI)",
		Aliases: []string{"uses"},
		Short:   "List what uses a ModelVersion or a dataset: pods, aliases, and versions built on it",
		Long: `List what uses a ModelVersion: the workloads whose pods serve it, the aliases that stand for
it, the ModelVersions that were built on it according to their lineage, those with the same
image, and what uses any of these.

With --dataset, list the ModelVersions of which anyone states that they were trained with the
data, and what uses them. The data is a URI, a name or a digest, or the beginning of a URI
before one of / @ ? #: s3://data/faces stands for s3://data/faces/v3 too.

With -o, the ModelVersions and the pods are printed. Pods of an earlier release have the
label by which they are found after they were restarted.`,
		Example: `  # What must change before mv-3 can go
  kubectl kiln used-by mv-3
  # What must go if this data was poisoned, in the whole cluster
  kubectl kiln used-by --dataset s3://data/faces -A`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: k.completeVersions,
	}
	flags := cmd.Flags()
	flags.StringVar(&u.dataset, "dataset", "", "the `URI`, name or digest of data, in place of a ModelVersion")
	flags.BoolVarP(&u.all, "all-namespaces", "A", false, "look in all namespaces")
	flags.BoolVar(&u.noHeaders, "no-headers", false, "print no column headers")
	u.out = newOutput(cmd, "")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if (len(args) == 1) == (u.dataset != "") {
			return wrongUsage("name either a ModelVersion or, with --dataset, data")
		}
		if u.cluster, err = k.connect(); err != nil {
			return err
		}
		if u.dataset != "" {
			return u.ofDataset(cmd.Context())
		}
		return u.ofVersion(cmd.Context(), args[0])
	}
	return cmd
}

// usageQuery is a question for what uses something.
type usageQuery struct {
	*kiln
	*cluster
	dataset        string
	all, noHeaders bool
	out            output
}

// inventory are the objects among which uses are looked for.
type inventory struct {
	versions []v1alpha1.ModelVersion
	models   []v1alpha1.Model
	pods     []corev1.Pod
}

func (u *usageQuery) ofVersion(ctx context.Context, arg string) error {
	name, err := versionName(arg)
	if err != nil {
		return err
	}
	mv, err := u.cluster.version(ctx, name)
	if err != nil {
		return err
	}
	found, err := u.inventory(ctx)
	if err != nil {
		return err
	}
	return u.print(found, []derivation{{version: mv}}, mv.Name)
}

func (u *usageQuery) ofDataset(ctx context.Context) error {
	found, err := u.inventory(ctx)
	if err != nil {
		return err
	}
	if err := u.print(found, trainedWith(found.versions, u.dataset), visible(u.dataset)); err != nil {
		return err
	}
	if silent := withoutDataset(found.versions); silent > 0 {
		if err := u.note("Nobody states with which data %d of %s were trained.", silent, console.Count(len(found.versions), "ModelVersion")); err != nil {
			return err
		}
	}
	if orphans := servingDeleted(found); orphans > 0 {
		return u.note("The lineage of deleted ModelVersions is not known, and pods still serve them: %d.", orphans)
	}
	return nil
}

// inventory reads the objects of the namespace, or of all.
func (u *usageQuery) inventory(ctx context.Context) (found inventory, err error) {
	var opts []client.ListOption
	if !u.all {
		opts = append(opts, client.InNamespace(u.namespace))
	}
	if found.versions, err = u.versionsOf(ctx, "", opts...); err != nil {
		return found, err
	}
	models := &v1alpha1.ModelList{}
	if err := u.List(ctx, models, opts...); err != nil {
		return found, u.explain(err, "Model", "")
	}
	pods := &corev1.PodList{}
	if err := u.List(ctx, pods, append(opts, client.HasLabels{v1alpha1.LabelServedVersionUID})...); err != nil {
		return found, u.explain(err, "Pod", "")
	}
	found.models, found.pods = models.Items, pods.Items
	return found, nil
}

// print prints what uses the ModelVersions, or anything that was built on them.
func (u *usageQuery) print(found inventory, roots []derivation, what string) error {
	affected := builtOn(found.versions, roots)
	if u.out.isSet() {
		return u.printObjects(u.out, usersOf(affected, found.pods))
	}
	rows := usesOf(affected, found)
	switch {
	case len(rows) == 0 && u.all:
		return u.note("Nothing uses %s.", what)
	case len(rows) == 0:
		return u.note("Nothing in namespace %s uses %s.", u.namespace, what)
	}
	names := []string{"Namespace", "Name", "Uses", "How"}
	if !u.all {
		names = names[1:]
		for i := range rows {
			rows[i] = rows[i][1:]
		}
	}
	return u.printTable(table(columns(names...), rows), u.noHeaders)
}
