package command

import (
	"strings"

	"github.com/spf13/cobra"
)

func (k *kiln) usedBy() *cobra.Command {
	var noHeaders bool
	cmd := &cobra.Command{
		Use:   "used-by VERSION",
		Short: "List the workloads whose pods serve a ModelVersion",
		Long: `List the workloads whose pods serve a ModelVersion. With -o, list the pods.

The pods have the label model.kubedl.io/served-version-uid. Pods of an earlier release
have it after they were restarted.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: k.completeVersions,
	}
	cmd.Flags().BoolVar(&noHeaders, "no-headers", false, "print no column headers")
	out := newOutput(cmd, "")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, mv, err := k.connectTo(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		pods, err := c.servingPods(cmd.Context(), mv)
		if err != nil {
			return err
		}
		if out.isSet() {
			return printList(k, out, pods)
		}
		var rows [][]any
		for _, line := range servedBy(mv, pods) {
			workload, ready, _ := strings.Cut(line, "\t")
			rows = append(rows, []any{workload, strings.TrimSuffix(ready, " ready")})
		}
		if len(rows) == 0 {
			return k.note("No pods in namespace %s serve %s.", c.namespace, mv.Name)
		}
		return k.printTable(table(columns("Workload", "Ready"), rows), noHeaders)
	}
	return cmd
}
