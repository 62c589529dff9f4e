package command

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"
)

func (k *kiln) open() *cobra.Command {
	return &cobra.Command{
		Use:   "open VERSION",
		Short: "Open the build of a ModelVersion in the Argo UI",
		Long: `Open the build of a ModelVersion in the Argo UI: print its URL and, on a terminal, start
the browser. The operator's configuration has the URL of the Argo UI (argoURL).`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: k.completeVersions,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, mv, err := k.connectTo(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			wf := mv.Status.Workflow
			if wf == nil {
				return fmt.Errorf("ModelVersion %s has no build: its state is shown by kubectl kiln why %s -n %s", mv.Name, mv.Name, mv.Namespace)
			}
			if wf.URL == "" {
				return fmt.Errorf("the operator does not know the URL of the Argo UI: set argoURL in its configuration. The Workflow is %s in namespace %s", wf.Name, mv.Namespace)
			}
			if _, err := fmt.Fprintln(k.Out, wf.URL); err != nil || !isTerminal(k.Out) {
				return err
			}
			// The browser outlives this command.
			ctx := context.WithoutCancel(cmd.Context())
			if err := exec.CommandContext(ctx, browser(runtime.GOOS), wf.URL).Start(); err != nil {
				return fmt.Errorf("the browser was not started, open the URL yourself: %w", err)
			}
			return nil
		},
	}
}

// browser returns the program that opens a URL.
func browser(system string) string {
	if system == "darwin" {
		return "open"
	}
	return "xdg-open"
}
