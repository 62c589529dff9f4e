package command

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/xlab/treeprint"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/step/console"
)

func (k *kiln) tree() *cobra.Command {
	t := &versionTree{keyring: &keyring{}, has: map[types.UID]bool{}}
	cmd := &cobra.Command{
		Use:   "tree (MODEL | mv/VERSION | pod/POD)",
		Short: "Show a Model and its versions, or from what a ModelVersion or a pod's model was made",
		Long: `Show a Model with its versions, their base models, data and attempts, and the workloads
that serve them; or a ModelVersion or a pod with its image, its signature, its build and its
lineage: from what the model was made, and who states that. Base models that are
ModelVersions follow with theirs.

A name alone is that of a Model, else of a ModelVersion, else of a pod. With -o, the objects
are printed.`,
		Example: `  # A Model
  kubectl kiln tree resnet
  # One version, and all that it was made from
  kubectl kiln tree mv/resnet-3
  # The same of what a pod serves, with the signatures verified
  kubectl kiln tree pod/resnet-7c9f5b8d4-x2x1v --key cosign.pub`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: k.completeTargets(&v1alpha1.ModelList{}, &v1alpha1.ModelVersionList{}, &corev1.PodList{}),
	}
	t.define(cmd.Flags())
	out := newOutput(cmd, "")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := k.connect()
		if err != nil {
			return err
		}
		if err := t.open(c); err != nil {
			return err
		}
		t.now = now()
		root, err := t.of(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if out.isSet() {
			return k.printObjects(out, t.objects)
		}
		// The columns of lines at all depths are aligned.
		aligned := printers.GetNewTabWriter(k.Out)
		if _, err := fmt.Fprint(aligned, root.String()); err != nil {
			return err
		}
		return aligned.Flush()
	}
	return cmd
}

// versionTree makes trees.
type versionTree struct {
	*keyring
	now time.Time
	// has are the ModelVersions that the tree has, by UID.
	has map[types.UID]bool
	// objects are what the tree shows.
	objects []client.Object
}

// of returns the tree of an argument.
func (t *versionTree) of(ctx context.Context, arg string) (treeprint.Tree, error) {
	object, err := t.find(ctx, arg, &v1alpha1.Model{}, &v1alpha1.ModelVersion{}, &corev1.Pod{})
	if err != nil {
		return nil, err
	}
	t.objects = append(t.objects, object)
	switch object := object.(type) {
	case *v1alpha1.Model:
		return t.ofModel(ctx, object)
	case *v1alpha1.ModelVersion:
		return t.ofVersion(ctx, object)
	case *corev1.Pod:
		return t.ofPod(ctx, object)
	default:
		return nil, fmt.Errorf("%T has no tree", object)
	}
}

func (t *versionTree) ofModel(ctx context.Context, model *v1alpha1.Model) (treeprint.Tree, error) {
	versions, err := t.versionsOf(ctx, model.Name, client.InNamespace(t.namespace))
	if err != nil {
		return nil, err
	}
	tree := treeprint.NewWithRoot(modelLine(model))
	pods, err := t.servingPods(ctx, nil)
	if err := addUnknown(tree, "serves", err); err != nil {
		return nil, err
	}
	for i := range versions {
		mv := &versions[i]
		t.objects = append(t.objects, mv)
		branch := tree.AddBranch(versionLine(mv, aliasesOf(model, mv.Name), t.now))
		if origins := madeFrom(mv); origins != "" {
			branch.AddNode("from\t" + origins)
		}
		if err := t.addAttempts(ctx, branch, mv); err != nil {
			return nil, err
		}
		addServing(branch, mv, pods)
	}
	return tree, nil
}

func (t *versionTree) ofVersion(ctx context.Context, mv *v1alpha1.ModelVersion) (treeprint.Tree, error) {
	tree := treeprint.NewWithRoot(versionHead(mv, t.now))
	pods, err := t.servingPods(ctx, mv)
	if err := addUnknown(tree, "serves", err); err != nil {
		return nil, err
	}
	if err := t.addModel(ctx, tree, mv); err != nil {
		return nil, err
	}
	if err := t.addVersion(ctx, tree, mv, 0); err != nil {
		return nil, err
	}
	if err := t.addAttempts(ctx, tree, mv); err != nil {
		return nil, err
	}
	addServing(tree, mv, pods)
	return tree, nil
}

func (t *versionTree) ofPod(ctx context.Context, pod *corev1.Pod) (treeprint.Tree, error) {
	mv, err := t.servedVersion(ctx, pod)
	if err != nil {
		return nil, err
	}
	tree := treeprint.NewWithRoot(fmt.Sprintf("Pod %s  %s", pod.Name, pod.Status.Phase))
	tree.AddNode("serves\t" + cmp.Or(visible(inject.ServedImage(pod)), "no image of a model"))
	if mv == nil {
		tree.AddNode(visible(pod.Annotations[v1alpha1.AnnotationServedVersion]) + "\twas deleted")
		return tree, nil
	}
	t.objects = append(t.objects, mv)
	if problem := servedProblem(pod, mv); problem != "" {
		tree.AddNode("warning\t" + problem)
	}
	branch := tree.AddBranch(versionHead(mv, t.now))
	if err := t.addModel(ctx, branch, mv); err != nil {
		return nil, err
	}
	return tree, t.addVersion(ctx, branch, mv, 0)
}

// addModel adds the Model of a ModelVersion, and its aliases that stand for it.
func (t *versionTree) addModel(ctx context.Context, tree treeprint.Tree, mv *v1alpha1.ModelVersion) error {
	model := &v1alpha1.Model{}
	err := t.Get(ctx, client.ObjectKey{Namespace: mv.Namespace, Name: mv.Spec.ModelName}, model)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return t.explain(err, "Model", mv.Spec.ModelName)
	}
	t.objects = append(t.objects, model)
	tree.AddNode(modelLine(model))
	for _, alias := range model.Status.Aliases {
		if alias.Version == mv.Name {
			tree.AddNode("alias\t" + aliasCell(alias))
		}
	}
	return nil
}

// aliasCell returns since when an alias stands for its ModelVersion, and for which one it
// stood before.
func aliasCell(alias v1alpha1.AliasStatus) string {
	cell := alias.Name
	if alias.Since != nil {
		cell += " since " + timeCell(*alias.Since)
	}
	if alias.By != "" {
		cell += " by " + visible(alias.By)
	}
	if len(alias.History) > 0 {
		cell += ", before: " + alias.History[0].Version
	}
	return cell
}

// addVersion adds the image of a ModelVersion, its signature, its build and its lineage.
// generation is 0 for the ModelVersion that the tree is about, and 1 for its base models.
func (t *versionTree) addVersion(ctx context.Context, tree treeprint.Tree, mv *v1alpha1.ModelVersion, generation int) error {
	t.has[mv.UID] = true
	if generation > 0 {
		t.objects = append(t.objects, mv)
	}
	if mv.Status.Image != "" {
		tree.AddNode("image\t" + joined(pinned(mv), sizeCell(mv.Status.SizeBytes), transferred(mv)))
	}
	if mv.Status.Digest != "" {
		tree.AddNode("signed\t" + t.signatureOf(ctx, mv).cell())
	}
	if attested := attestedCell(mv); attested != "" {
		tree.AddNode("attested\t" + attested)
	}
	if mv.Status.Workflow != nil {
		tree.AddNode("built\t" + t.buildCell(ctx, mv))
	}
	return t.addLineage(ctx, tree, mv, generation)
}

// attestedCell returns what else was signed, according to the status.
func attestedCell(mv *v1alpha1.ModelVersion) string {
	if mv.Status.Signature == nil || len(mv.Status.Signature.Attestations) == 0 {
		return ""
	}
	var names []string
	for _, attestation := range mv.Status.Signature.Attestations {
		names = append(names, visible(string(attestation)))
	}
	return strings.Join(names, ", ") + "  in the registry, not verified here"
}

// buildCell returns which Workflow has built a ModelVersion, when, and how long that took.
// The template is known while the Workflow exists.
func (t *versionTree) buildCell(ctx context.Context, mv *v1alpha1.ModelVersion) string {
	wf, template := mv.Status.Workflow, ""
	if attempt, found := t.currentAttempt(ctx, mv); found && attempt.Template != "" {
		template = "template " + attempt.Template
	}
	start, duration := "", ""
	if mv.Status.StartTime != nil {
		start, duration = timeCell(*mv.Status.StartTime), "took "+took(mv, t.now)
	}
	return joined("Workflow "+wf.Name, template, start, duration, string(engineOf(mv)))
}

// joined returns the parts that are not empty.
func joined(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), "  ")
}

// timeCell returns a time for people, in UTC.
func timeCell(t metav1.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// addAttempts adds the attempts of a ModelVersion that is not ready.
func (t *versionTree) addAttempts(ctx context.Context, tree treeprint.Tree, mv *v1alpha1.ModelVersion) error {
	if word, _ := state(mv); word != "Failed" && word != "Building" {
		return nil
	}
	attempts, err := t.attempts(ctx, mv)
	if err := addUnknown(tree, "attempts", err); err != nil {
		return err
	}
	for _, attempt := range attempts {
		tree.AddNode("attempt\t" + attemptCell(attempt, t.now))
	}
	return nil
}

// addUnknown adds that something is not known, if err says why, and returns other errors.
func addUnknown(tree treeprint.Tree, what string, err error) error {
	if !isUnreadable(err) {
		return err
	}
	tree.AddNode(what + "\tnot known: " + err.Error())
	return nil
}

func modelLine(model *v1alpha1.Model) string {
	parts := []string{"Model " + model.Name}
	if latest := model.Status.LatestVersion; latest != nil {
		parts = append(parts, "latest "+latest.ModelVersion)
	}
	for _, alias := range model.Status.Aliases {
		parts = append(parts, fmt.Sprintf("%s → %s", alias.Name, alias.Version))
	}
	return strings.Join(parts, "  ")
}

// aliasesOf returns the aliases that stand for a ModelVersion.
func aliasesOf(model *v1alpha1.Model, version string) []string {
	var names []string
	for _, alias := range model.Status.Aliases {
		if alias.Version == version {
			names = append(names, alias.Name)
		}
	}
	return names
}

// versionHead returns the line of a ModelVersion without columns.
func versionHead(mv *v1alpha1.ModelVersion, now time.Time) string {
	return "ModelVersion " + joined(strings.Split(versionLine(mv, nil, now), "\t")...)
}

// versionLine returns the line of a ModelVersion, whose cells are separated by tabs.
func versionLine(mv *v1alpha1.ModelVersion, aliases []string, now time.Time) string {
	word, reason := state(mv)
	cells := []string{mv.Name, word, tagOf(mv)}
	switch word {
	case "Ready":
		cells = append(cells, sizeCell(mv.Status.SizeBytes), transferred(mv))
	case "Failed", "Waiting":
		cells = append(cells, reason, "")
	default:
		cells = append(cells, percent(mv), progressCell(mv, now))
	}
	cells = append(cells, age(mv.CreationTimestamp, now), string(engineOf(mv)), creator(mv), strings.Join(aliases, ", "))
	return strings.TrimRight(strings.Join(cells, "\t"), "\t")
}

func transferred(mv *v1alpha1.ModelVersion) string {
	if mv.Status.SentBytes+mv.Status.ReusedBytes == 0 {
		return ""
	}
	return fmt.Sprintf("sent %s, reused %s", console.Size(mv.Status.SentBytes), console.Size(mv.Status.ReusedBytes))
}

func progressCell(mv *v1alpha1.ModelVersion, now time.Time) string {
	_, left, _ := strings.Cut(progressLine(mv, startOf(mv), 0, now), "about ")
	if left == "" {
		return ""
	}
	return "about " + left
}

// engineOf returns the engine that a ModelVersion names, or "" for that of the operator's
// configuration, which users may not read.
func engineOf(mv *v1alpha1.ModelVersion) v1alpha1.BuildEngine {
	if mv.Spec.Build == nil {
		return ""
	}
	return mv.Spec.Build.Engine
}

func attemptCell(a lifecycle.Attempt, now time.Time) string {
	return strings.Replace(attemptLine(a, now), "  ", "\t", 1)
}
