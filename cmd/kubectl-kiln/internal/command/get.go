package command

import (
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/console"
)

func (k *kiln) get() *cobra.Command {
	var all, noHeaders bool
	cmd := &cobra.Command{
		Use:   "get [MODEL]",
		Short: "List ModelVersions with their state, size, duration and creator",
		Example: `  # All ModelVersions of the namespace, the newest first
  kubectl kiln get
  # Those of one Model, by name only
  kubectl kiln get resnet -o name`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: k.completeModels,
	}
	flags := cmd.Flags()
	flags.BoolVarP(&all, "all-namespaces", "A", false, "list the ModelVersions of all namespaces")
	flags.BoolVar(&noHeaders, "no-headers", false, "print no column headers")
	out := newOutput(cmd, "")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		model := ""
		if len(args) > 0 {
			var err error
			if model, err = modelName(args[0]); err != nil {
				return err
			}
		}
		c, err := k.connect()
		if err != nil {
			return err
		}
		var opts []client.ListOption
		if !all {
			opts = append(opts, client.InNamespace(c.namespace))
		}
		versions, err := c.versionsOf(cmd.Context(), model, opts...)
		if err != nil {
			return err
		}
		if out.isSet() {
			return printList(k, out, versions)
		}
		if len(versions) == 0 {
			return k.nothingFound(c, model, all)
		}
		return k.printTable(versionTable(versions, all, now()), noHeaders)
	}
	return cmd
}

// nothingFound says on the error output that a list is empty, as kubectl get does.
func (k *kiln) nothingFound(c *cluster, model string, all bool) error {
	what := "ModelVersions"
	if model != "" {
		what += " of Model " + model
	}
	if all {
		return k.note("No %s found.", what)
	}
	return k.note("No %s found in namespace %s.", what, c.namespace)
}

// versionTable returns the table of ModelVersions.
func versionTable(versions []v1alpha1.ModelVersion, namespaces bool, now time.Time) *metav1.Table {
	names := []string{"Name", "Model", "State", "Tag", "Size", "Sent", "Time", "Progress", "Created-By", "Age"}
	if namespaces {
		names = append([]string{"Namespace"}, names...)
	}
	var rows [][]any
	for i := range versions {
		mv := &versions[i]
		row := []any{mv.Name, mv.Spec.ModelName, stateCell(mv), tagOf(mv), sizeCell(mv.Status.SizeBytes), sizeCell(mv.Status.SentBytes), took(mv, now), percent(mv), creator(mv), age(mv.CreationTimestamp, now)}
		if namespaces {
			row = append([]any{mv.Namespace}, row...)
		}
		rows = append(rows, row)
	}
	return table(columns(names...), rows)
}

// stateCell returns a state with its reason.
func stateCell(mv *v1alpha1.ModelVersion) string {
	word, reason := state(mv)
	if reason == "" {
		return word
	}
	return word + ": " + reason
}

// sizeCell returns a size, or nothing if it is not known.
func sizeCell(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return console.Size(bytes)
}
