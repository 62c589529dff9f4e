package command

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/text"
)

// output prints objects as -o says. Without it, a command prints what it likes.
type output struct{ flags *genericclioptions.PrintFlags }

// newOutput adds -o and what belongs to it to a command. operation is what the command
// has done to an object, as in "modelversion.model.kubedl.io/mv-3 created".
func newOutput(cmd *cobra.Command, operation string) output {
	o := output{genericclioptions.NewPrintFlags(operation).WithTypeSetter(scheme)}
	o.flags.AddFlags(cmd)
	return o
}

// isSet reports whether the user has chosen a format.
func (o output) isSet() bool { return o.flags.OutputFormat != nil && *o.flags.OutputFormat != "" }

// printer returns the printer for the format. A command that changes something asks for it
// first, so that a typo in -o changes nothing.
func (o output) printer() (printers.ResourcePrinter, error) {
	printer, err := o.flags.ToPrinter()
	if err != nil {
		return nil, usageError{err}
	}
	return printer, nil
}

// results returns where a command prints what is not an object: with -o, the output has
// objects only.
func (o output) results(k *kiln) io.Writer {
	if o.isSet() {
		return k.ErrOut
	}
	return k.Out
}

// table returns a table in the form in which the API server returns them.
func table(columns []metav1.TableColumnDefinition, rows [][]any) *metav1.Table {
	t := &metav1.Table{ColumnDefinitions: columns}
	for _, cells := range rows {
		t.Rows = append(t.Rows, metav1.TableRow{Cells: cells})
	}
	return t
}

// columns returns the columns of a table.
func columns(names ...string) []metav1.TableColumnDefinition {
	var all []metav1.TableColumnDefinition
	for _, name := range names {
		all = append(all, metav1.TableColumnDefinition{Name: name, Type: "string"})
	}
	return all
}

// printTable prints a table as kubectl get does.
func (k *kiln) printTable(t *metav1.Table, noHeaders bool) error {
	return printers.NewTablePrinter(printers.PrintOptions{NoHeaders: noHeaders}).PrintObj(t, k.Out)
}

// printList prints objects of one kind as printObjects does.
func printList[T any, P interface {
	*T
	client.Object
}](k *kiln, out output, items []T) error {
	objects := make([]client.Object, len(items))
	for i := range items {
		objects[i] = P(&items[i])
	}
	return k.printObjects(out, objects)
}

// printObjects prints objects as one list, whose items have their kinds, as kubectl get
// does.
func (k *kiln) printObjects(out output, objects []client.Object) error {
	printer, err := out.printer()
	if err != nil {
		return err
	}
	list := &corev1.List{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "List"}, Items: []runtime.RawExtension{}}
	for _, object := range objects {
		kinds, _, err := scheme.ObjectKinds(object)
		if err != nil {
			return err
		}
		object.GetObjectKind().SetGroupVersionKind(kinds[0])
		list.Items = append(list.Items, runtime.RawExtension{Object: object})
	}
	if *out.flags.OutputFormat == "name" {
		// The printer of names prints no lists.
		return printEach(k, printer, list.Items)
	}
	return printer.PrintObj(list, k.Out)
}

func printEach(k *kiln, printer printers.ResourcePrinter, items []runtime.RawExtension) error {
	for _, item := range items {
		if err := printer.PrintObj(item.Object, k.Out); err != nil {
			return err
		}
	}
	return nil
}

func newestFirst(versions []v1alpha1.ModelVersion) {
	slices.SortFunc(versions, func(a, b v1alpha1.ModelVersion) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// state returns the state of a ModelVersion in one word, and its reason if it is not
// ready.
func state(mv *v1alpha1.ModelVersion) (word, reason string) {
	ready := meta.FindStatusCondition(mv.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil && mv.Status.ImageBuildPhase == v1alpha1.ImageBuildSucceeded:
		return "Ready", ""
	case ready == nil && mv.Status.ImageBuildPhase == v1alpha1.ImageBuildFailed:
		return "Failed", ""
	case ready == nil:
		return "Unknown", ""
	case ready.Status == metav1.ConditionTrue:
		return "Ready", ""
	case meta.IsStatusConditionTrue(mv.Status.Conditions, v1alpha1.ConditionReconciling) && ready.Status == metav1.ConditionUnknown:
		return "Building", ready.Reason
	case meta.IsStatusConditionTrue(mv.Status.Conditions, v1alpha1.ConditionReconciling):
		return "Waiting", ready.Reason
	default:
		return "Failed", ready.Reason
	}
}

// tagOf returns the tag of a ModelVersion's image, or "".
func tagOf(mv *v1alpha1.ModelVersion) string {
	image := mv.Status.Image
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		return image[i+1:]
	}
	return mv.Spec.ImageTag
}

// creator returns who created a ModelVersion: what the user wrote, or else who they are.
// What users write is free text, and could control a terminal.
func creator(mv *v1alpha1.ModelVersion) string {
	return text.Printable(cmp.Or(mv.Spec.CreatedBy, mv.Status.CreatedByUser))
}

// took returns how long the attempt of a ModelVersion took, or takes.
func took(mv *v1alpha1.ModelVersion, now time.Time) string {
	start, end := mv.Status.StartTime, mv.Status.FinishTime
	switch {
	case start == nil:
		return ""
	case end != nil:
		return duration.HumanDuration(end.Sub(start.Time))
	default:
		return duration.HumanDuration(now.Sub(start.Time))
	}
}

func age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// percent returns the progress of a running build, or "".
func percent(mv *v1alpha1.ModelVersion) string {
	if wf := mv.Status.Workflow; wf != nil && wf.ProgressPercent != nil {
		return fmt.Sprintf("%d%%", *wf.ProgressPercent)
	}
	return ""
}
