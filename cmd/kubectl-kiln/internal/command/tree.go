package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/xlab/treeprint"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/text"
)

func (k *kiln) tree() *cobra.Command {
	return &cobra.Command{
		Use:   "tree (MODEL | mv/VERSION | pod/POD)",
		Short: "Show a Model, its versions, their attempts, and the workloads that serve them",
		Example: `  # A Model
  kubectl kiln tree resnet
  # One version
  kubectl kiln tree mv/resnet-3
  # What a pod serves
  kubectl kiln tree pod/resnet-7c9f5b8d4-x2x1v`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: k.completeModels,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := k.connect()
			if err != nil {
				return err
			}
			root, err := c.treeOf(cmd.Context(), args[0], now())
			if err != nil {
				return err
			}
			// The columns of lines at all depths are aligned.
			aligned := printers.GetNewTabWriter(k.Out)
			if _, err := fmt.Fprint(aligned, root.String()); err != nil {
				return err
			}
			return aligned.Flush()
		},
	}
}

// treeOf returns the tree of an argument.
func (c *cluster) treeOf(ctx context.Context, arg string, now time.Time) (treeprint.Tree, error) {
	kind, name, found := strings.Cut(arg, "/")
	if !found {
		kind, name = "model", arg
	}
	switch kind {
	case "mo", "model", "models", "model.model.kubedl.io":
		return c.modelTree(ctx, name, now)
	case "po", "pod", "pods":
		return c.podTree(ctx, name, now)
	default:
		name, err := versionName(arg)
		if err != nil {
			return nil, wrongUsage("%q is not a Model, ModelVersion or pod: write MODEL, mv/VERSION or pod/POD", arg)
		}
		return c.versionTree(ctx, name, now)
	}
}

func (c *cluster) modelTree(ctx context.Context, name string, now time.Time) (treeprint.Tree, error) {
	model, err := c.model(ctx, name)
	if err != nil {
		return nil, err
	}
	versions, err := c.versionsOf(ctx, name, client.InNamespace(c.namespace))
	if err != nil {
		return nil, err
	}
	pods, err := c.servingPods(ctx, nil)
	if err != nil {
		return nil, err
	}
	tree := treeprint.NewWithRoot(modelLine(model))
	for i := range versions {
		mv := &versions[i]
		branch := tree.AddBranch(versionLine(mv, aliasesOf(model, mv.Name), now))
		if err := c.addDetails(ctx, branch, mv, pods, now); err != nil {
			return nil, err
		}
	}
	return tree, nil
}

func (c *cluster) versionTree(ctx context.Context, name string, now time.Time) (treeprint.Tree, error) {
	mv, err := c.version(ctx, name)
	if err != nil {
		return nil, err
	}
	pods, err := c.servingPods(ctx, mv)
	if err != nil {
		return nil, err
	}
	model := &v1alpha1.Model{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: mv.Spec.ModelName}, model); client.IgnoreNotFound(err) != nil {
		return nil, c.explain(err, "Model", mv.Spec.ModelName)
	}
	tree := treeprint.NewWithRoot(versionLine(mv, aliasesOf(model, mv.Name), now))
	if mv.Status.Image != "" {
		tree.AddNode("image\t" + pinned(mv))
	}
	return tree, c.addDetails(ctx, tree, mv, pods, now)
}

// addDetails adds the attempts of a ModelVersion that is not ready, and who serves it.
func (c *cluster) addDetails(ctx context.Context, branch treeprint.Tree, mv *v1alpha1.ModelVersion, pods []corev1.Pod, now time.Time) error {
	if word, _ := state(mv); word == "Failed" || word == "Building" {
		attempts, err := c.attempts(ctx, mv)
		if err != nil {
			return err
		}
		for _, attempt := range attempts {
			branch.AddNode("attempt\t" + attemptCell(attempt, now))
		}
	}
	for _, line := range servedBy(mv, pods) {
		branch.AddNode("serves\t" + line)
	}
	return nil
}

func (c *cluster) podTree(ctx context.Context, name string, now time.Time) (treeprint.Tree, error) {
	pod := &corev1.Pod{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, pod); err != nil {
		return nil, c.explain(err, "Pod", name)
	}
	tree := treeprint.NewWithRoot(fmt.Sprintf("Pod %s\t%s", pod.Name, pod.Status.Phase))
	version := text.Printable(pod.Annotations[v1alpha1.AnnotationServedVersion])
	if version == "" {
		return nil, fmt.Errorf("pod %s serves no ModelVersion: it has none of the labels %s and %s", name, v1alpha1.LabelServeVersion, v1alpha1.LabelServeModel)
	}
	tree.AddNode("serves\t" + text.Printable(pod.Annotations[v1alpha1.AnnotationServedImage]))
	mv := &v1alpha1.ModelVersion{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: version}, mv); client.IgnoreNotFound(err) != nil {
		return nil, c.explain(err, "ModelVersion", version)
	}
	// Another ModelVersion may have the name now.
	if mv.UID == "" || string(mv.UID) != pod.Labels[v1alpha1.LabelServedVersionUID] {
		tree.AddNode(version + "\twas deleted")
		return tree, nil
	}
	model, err := c.model(ctx, mv.Spec.ModelName)
	if err != nil {
		return nil, err
	}
	branch := tree.AddBranch(versionLine(mv, aliasesOf(model, mv.Name), now))
	branch.AddNode(modelLine(model))
	return tree, nil
}

// servingPods returns the pods that serve a ModelVersion or, for nil, any.
func (c *cluster) servingPods(ctx context.Context, mv *v1alpha1.ModelVersion) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	var match client.ListOption = client.HasLabels{v1alpha1.LabelServedVersionUID}
	if mv != nil {
		match = client.MatchingLabels{v1alpha1.LabelServedVersionUID: string(mv.UID)}
	}
	if err := c.List(ctx, list, client.InNamespace(c.namespace), match); err != nil {
		return nil, c.explain(err, "Pod", "")
	}
	return list.Items, nil
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
	_, left, _ := strings.Cut(progressLine(mv, now), "about ")
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

// servedBy returns the workloads whose pods serve a ModelVersion, with the number of
// those pods and of the ones that are ready.
func servedBy(mv *v1alpha1.ModelVersion, pods []corev1.Pod) []string {
	ready, all := map[string]int{}, map[string]int{}
	for i := range pods {
		pod := &pods[i]
		if pod.Labels[v1alpha1.LabelServedVersionUID] != string(mv.UID) || hasEnded(pod) {
			continue
		}
		owner := workloadOf(pod)
		all[owner]++
		if isPodReady(pod) {
			ready[owner]++
		}
	}
	var lines []string
	for _, owner := range slices.Sorted(maps.Keys(all)) {
		lines = append(lines, fmt.Sprintf("%s\t%d/%d ready", owner, ready[owner], all[owner]))
	}
	return lines
}

// workloadOf returns the workload that a pod belongs to, as kubectl writes it. The name
// of a Deployment's ReplicaSet ends with the hash that is a label of the pod.
func workloadOf(pod *corev1.Pod) string {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return "pod/" + pod.Name
	}
	hash := pod.Labels["pod-template-hash"]
	if deployment, found := strings.CutSuffix(owner.Name, "-"+hash); found && owner.Kind == "ReplicaSet" && hash != "" {
		return "deployment/" + deployment
	}
	return strings.ToLower(owner.Kind) + "/" + owner.Name
}

func isPodReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
