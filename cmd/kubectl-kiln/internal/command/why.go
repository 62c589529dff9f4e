package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
)

// workflowKind is Argo's kind.
var workflowKind = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Workflow"}

func (k *kiln) why() *cobra.Command {
	return &cobra.Command{
		Use:   "why VERSION",
		Short: "Explain the state of a ModelVersion, its attempts, and what to do next",
		Long: `Explain the state of a ModelVersion, its attempts, and what to do next.

What an attempt means is determined by the same code as in the operator.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: k.completeVersions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, mv, err := k.connectTo(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			attempts, err := c.attempts(cmd.Context(), mv)
			if err != nil {
				// What the ModelVersion itself says is known, and worth more.
				if err := k.note("the attempts are not known: %v", err); err != nil {
					return err
				}
			}
			_, err = fmt.Fprint(k.Out, explanation(mv, attempts, now()))
			return err
		},
	}
}

// attempts returns the Workflows of a ModelVersion, the last one first.
func (c *cluster) attempts(ctx context.Context, mv *v1alpha1.ModelVersion) ([]lifecycle.Attempt, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(workflowKind)
	if err := c.List(ctx, list, client.InNamespace(mv.Namespace), client.MatchingLabels{v1alpha1.LabelModelVersionUID: string(mv.UID)}); err != nil {
		return nil, c.explain(err, "Workflow", "")
	}
	attempts := make([]lifecycle.Attempt, 0, len(list.Items))
	for i := range list.Items {
		attempt, err := readAttempt(&list.Items[i])
		if err != nil {
			attempt.Name = list.Items[i].GetName()
			attempt.Outcome = lifecycle.Outcome{State: lifecycle.StateFailed, Reason: v1alpha1.ReasonWorkflowInvalid, Message: quote(err)}
		}
		attempts = append(attempts, attempt)
	}
	lifecycle.SortAttempts(attempts)
	return attempts, nil
}

func readAttempt(workflow *unstructured.Unstructured) (lifecycle.Attempt, error) {
	raw, err := workflow.MarshalJSON()
	if err != nil {
		return lifecycle.Attempt{}, err
	}
	return lifecycle.ReadAttempt(raw)
}

// currentAttempt returns the attempt that the status of a ModelVersion describes, and
// false if its Workflow cannot be read, or no longer.
func (c *cluster) currentAttempt(ctx context.Context, mv *v1alpha1.ModelVersion) (lifecycle.Attempt, bool) {
	current := mv.Status.Workflow
	if current == nil {
		return lifecycle.Attempt{}, false
	}
	workflow := &unstructured.Unstructured{}
	workflow.SetGroupVersionKind(workflowKind)
	if err := c.Get(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: current.Name}, workflow); err != nil {
		return lifecycle.Attempt{}, false
	}
	// Another Workflow may have the name now.
	if current.UID != "" && current.UID != string(workflow.GetUID()) {
		return lifecycle.Attempt{}, false
	}
	attempt, err := readAttempt(workflow)
	return attempt, err == nil
}

// explanation returns why a ModelVersion is in its state.
func explanation(mv *v1alpha1.ModelVersion, attempts []lifecycle.Attempt, now time.Time) string {
	var out strings.Builder
	word, reason := state(mv)
	fmt.Fprintln(&out, headline(mv, word, reason))
	if mv.Status.Message != "" {
		fmt.Fprintf(&out, "  %s\n", mv.Status.Message)
	}
	if progress := percent(mv); progress != "" {
		fmt.Fprintf(&out, "  progress  %s\n", progressLine(mv, startOf(mv), totalOf(mv, attempts), now))
	}
	for _, attempt := range attempts {
		fmt.Fprintf(&out, "  attempt   %s\n", attemptLine(attempt, now))
		if attempt.State == lifecycle.StateFailed && attempt.Message != "" && !strings.Contains(mv.Status.Message, attempt.Message) {
			fmt.Fprintf(&out, "            %s\n", attempt.Message)
		}
	}
	for _, command := range nextCommands(mv, word) {
		fmt.Fprintf(&out, "  next      %s\n", command)
	}
	return out.String()
}

// totalOf returns the number of bytes that the running attempt copies, or 0 while that is
// not known.
func totalOf(mv *v1alpha1.ModelVersion, attempts []lifecycle.Attempt) int64 {
	for _, attempt := range attempts {
		if wf := mv.Status.Workflow; wf != nil && wf.Name == attempt.Name {
			return attempt.Total
		}
	}
	return 0
}

func headline(mv *v1alpha1.ModelVersion, word, reason string) string {
	switch word {
	case "Ready":
		return fmt.Sprintf("%s is ready", mv.Name)
	case "Unknown":
		return fmt.Sprintf("%s was not observed by the operator yet", mv.Name)
	case "Failed":
		return fmt.Sprintf("%s is not built: %s", mv.Name, orNone(reason))
	default:
		return fmt.Sprintf("%s is %s: %s", mv.Name, strings.ToLower(word), orNone(reason))
	}
}

func orNone(reason string) string {
	if reason == "" {
		return "no reason is known"
	}
	return reason
}

func attemptLine(a lifecycle.Attempt, now time.Time) string {
	parts := []string{a.Name, strings.ToLower(string(a.State))}
	if a.State == lifecycle.StateFailed {
		parts = append(parts, a.Reason)
	}
	if !a.Start.IsZero() {
		parts = append(parts, age(a.Start, now)+" ago")
	}
	if len(a.Nodes) > 0 {
		parts = append(parts, "on node "+strings.Join(a.Nodes, ", "))
	}
	return strings.Join(parts, "  ")
}

// nextCommands returns what a user may want to do in a state.
func nextCommands(mv *v1alpha1.ModelVersion, word string) []string {
	in := " -n " + mv.Namespace
	switch word {
	case "Failed":
		commands := []string{"when the cause is fixed: kubectl kiln retry " + mv.Name + in}
		if mv.Status.Workflow != nil {
			commands = append(commands, "the log: kubectl kiln logs "+mv.Name+in)
		}
		return commands
	case "Building":
		return []string{"kubectl kiln logs -f " + mv.Name + in}
	case "Unknown":
		return []string{"kubectl kiln doctor" + in}
	default:
		return nil
	}
}
