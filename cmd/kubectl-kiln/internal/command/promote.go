package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// promotion moves an alias.
type promotion struct {
	*kiln
	*cluster
	model, alias string
	rolls        bool
	timeout      time.Duration
}

func (k *kiln) promote() *cobra.Command {
	p := &promotion{kiln: k}
	cmd := &cobra.Command{
		Use:   "promote MODEL ALIAS VERSION",
		Short: "Have an alias of a Model, such as production, stand for a ModelVersion",
		Long: `Have an alias of a Model, such as production, stand for a ModelVersion.

The alias is created if the Model does not have it. Pods that run keep what they serve;
with --roll, the workloads that serve the alias are restarted, which needs permissions on
them.`,
		Example: `  # Promote a version, and restart what serves production
  kubectl kiln promote resnet production mv-7 --roll`,
		Args:              cobra.ExactArgs(3),
		ValidArgsFunction: k.completePromotion,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			version, err := versionName(args[2])
			if err != nil {
				return err
			}
			if err := p.begin(args); err != nil {
				return err
			}
			return p.to(cmd.Context(), v1alpha1.AliasRecord{Version: version})
		},
	}
	p.define(cmd)
	return cmd
}

func (k *kiln) rollback() *cobra.Command {
	p := &promotion{kiln: k}
	cmd := &cobra.Command{
		Use:   "rollback MODEL ALIAS",
		Short: "Have an alias stand for the ModelVersion before the present one again",
		Long: `Have an alias stand for the ModelVersion before the present one again, according to the
history in the status of the Model. A promotion that is not in effect, because the alias
could not be resolved, is taken back. A ModelVersion that was deleted and created again with
another image is refused. Pods that run keep what they serve; with --roll, the workloads that
serve the alias are restarted.`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: k.completePromotion,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := p.begin(args); err != nil {
				return err
			}
			model, err := p.cluster.model(cmd.Context(), p.model)
			if err != nil {
				return err
			}
			record, err := previousOf(model, p.alias)
			if err != nil {
				return err
			}
			return p.to(cmd.Context(), record)
		},
	}
	p.define(cmd)
	return cmd
}

func (p *promotion) define(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.rolls, "roll", false, "restart the Deployments, StatefulSets and DaemonSets whose pods serve the alias")
	cmd.Flags().DurationVar(&p.timeout, "timeout", time.Minute, "how long to wait until the operator has moved the alias; 0 does not wait")
}

// begin reads what promote and rollback have in common.
func (p *promotion) begin(args []string) (err error) {
	switch {
	case p.timeout < 0:
		return wrongUsage("--timeout must not be negative: 0 does not wait")
	case p.rolls && p.timeout == 0:
		return wrongUsage("--roll needs a --timeout: pods get the ModelVersion that the alias has when they are created")
	}
	if p.model, err = modelName(args[0]); err != nil {
		return err
	}
	p.alias = args[1]
	p.cluster, err = p.connect()
	return err
}

// previousOf returns the ModelVersion that an alias stood for before. If it does not stand
// for the one in spec, that is the one for which it stands.
func previousOf(model *v1alpha1.Model, alias string) (v1alpha1.AliasRecord, error) {
	status := aliasStatus(model, alias)
	if status == nil {
		return v1alpha1.AliasRecord{}, fmt.Errorf("the Model %s has no alias %s: its aliases are shown by kubectl kiln tree %s -n %s", model.Name, alias, model.Name, model.Namespace)
	}
	if wanted := wantedVersion(model, alias); wanted != "" && status.Version != "" && wanted != status.Version {
		return v1alpha1.AliasRecord{Version: status.Version, Digest: status.Digest}, nil
	}
	for _, record := range status.History {
		if record.Version != status.Version {
			return record, nil
		}
	}
	return v1alpha1.AliasRecord{}, fmt.Errorf("alias %s of Model %s has stood for no other ModelVersion than %s: there is nothing to roll back to", alias, model.Name, status.Version)
}

func aliasStatus(model *v1alpha1.Model, alias string) *v1alpha1.AliasStatus {
	i := slices.IndexFunc(model.Status.Aliases, func(a v1alpha1.AliasStatus) bool { return a.Name == alias })
	if i < 0 {
		return nil
	}
	return &model.Status.Aliases[i]
}

// wantedVersion returns the ModelVersion that spec names for an alias, or "".
func wantedVersion(model *v1alpha1.Model, alias string) string {
	for _, wanted := range model.Spec.Aliases {
		if wanted.Name == alias {
			return wanted.Version
		}
	}
	return ""
}

// to promotes a ModelVersion. If the record has a digest, it is that of the image which the
// ModelVersion must have.
func (p *promotion) to(ctx context.Context, record v1alpha1.AliasRecord) error {
	version := record.Version
	model, err := p.cluster.model(ctx, p.model)
	if err != nil {
		return err
	}
	mv, err := p.cluster.version(ctx, version)
	if err != nil {
		return err
	}
	if err := checkPromotable(model, mv); err != nil {
		return err
	}
	if record.Digest != "" && record.Digest != mv.Status.Digest {
		return fmt.Errorf("ModelVersion %s has another image than when the alias stood for it, %s instead of %s: it was created again, or built again. To promote it nevertheless, run: kubectl kiln promote %s %s %s -n %s",
			version, mv.Status.Digest, record.Digest, p.model, p.alias, version, p.namespace)
	}
	before := replacedVersion(model, p.alias, version)
	if err := p.patch(ctx, model, version); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(p.Out, "%s of %s: %s -> %s\n", p.alias, p.model, before, version); err != nil || p.timeout == 0 {
		return err
	}
	if err := p.await(ctx, version); err != nil || !p.rolls {
		return err
	}
	return p.roll(ctx)
}

// replacedVersion returns the ModelVersion for which an alias stands before a promotion, or
// which it was to get.
func replacedVersion(model *v1alpha1.Model, alias, version string) string {
	before := ""
	if status := aliasStatus(model, alias); status != nil {
		before = status.Version
	}
	if before == version {
		before = wantedVersion(model, alias)
	}
	return cmp.Or(before, "nothing")
}

// checkPromotable checks what the operator would report later.
func checkPromotable(model *v1alpha1.Model, mv *v1alpha1.ModelVersion) error {
	if mv.Spec.ModelName != model.Name {
		return fmt.Errorf("ModelVersion %s is one of Model %s, not of %s: list those of %s with kubectl kiln get %s -n %s", mv.Name, mv.Spec.ModelName, model.Name, model.Name, model.Name, model.Namespace)
	}
	if !mv.DeletionTimestamp.IsZero() {
		return fmt.Errorf("ModelVersion %s is being deleted: promote another one", mv.Name)
	}
	if word, _ := state(mv); word != "Ready" {
		return fmt.Errorf("ModelVersion %s is not ready: its state is shown by kubectl kiln why %s -n %s", mv.Name, mv.Name, mv.Namespace)
	}
	return nil
}

// errAliasChanged is the error of an alias that another user has changed at the same time.
var errAliasChanged = errors.New("the alias was changed at the same time")

// patch changes the alias in the spec. Two users who change aliases at the same time do
// not undo each other's change. What else changes, such as the status while pods start,
// does not matter.
func (p *promotion) patch(ctx context.Context, model *v1alpha1.Model, version string) error {
	wanted := wantedVersion(model, p.alias)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		conflict := p.patchOnce(ctx, model, version)
		if !apierrors.IsConflict(conflict) {
			return conflict
		}
		if err := p.Get(ctx, client.ObjectKeyFromObject(model), model); err != nil {
			return err
		}
		if wantedVersion(model, p.alias) != wanted {
			return errAliasChanged
		}
		return conflict
	})
	if errors.Is(err, errAliasChanged) || apierrors.IsConflict(err) {
		return fmt.Errorf("alias %s of Model %s was changed at the same time: run the command again", p.alias, p.model)
	}
	return p.explain(err, "Model", p.model)
}

func (p *promotion) patchOnce(ctx context.Context, model *v1alpha1.Model, version string) error {
	before := model.DeepCopy()
	i := slices.IndexFunc(model.Spec.Aliases, func(a v1alpha1.Alias) bool { return a.Name == p.alias })
	if i < 0 {
		model.Spec.Aliases = append(model.Spec.Aliases, v1alpha1.Alias{Name: p.alias, Version: version})
	} else {
		model.Spec.Aliases[i].Version = version
	}
	return p.Patch(ctx, model, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// await waits until the alias is in effect.
func (p *promotion) await(ctx context.Context, version string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("the alias %s is in the spec of Model %s, and was not in effect within %s: see kubectl describe mo %s -n %s, and kubectl kiln doctor", p.alias, p.model, p.timeout, p.model, p.namespace))
	defer cancel()
	opts := &client.ListOptions{Namespace: p.namespace}
	client.MatchingFields{"metadata.name": p.model}.ApplyToList(opts)
	var last *v1alpha1.AliasStatus
	err := p.until(ctx, func() client.ObjectList { return &v1alpha1.ModelList{} }, opts, func(event watch.Event) (bool, error) {
		model, ok := event.Object.(*v1alpha1.Model)
		switch {
		case !ok:
			return false, apierrors.FromObject(event.Object)
		case event.Type == watch.Deleted:
			return false, fmt.Errorf("the Model %s was deleted", p.model)
		}
		last = aliasStatus(model, p.alias)
		return last != nil && last.Version == version, nil
	})
	switch {
	case err != nil && last != nil && last.Message != "":
		return fmt.Errorf("the alias %s was not moved: %s", p.alias, last.Message)
	case err != nil && errors.Is(context.Cause(ctx), context.Canceled), err == nil:
		return err
	case context.Cause(ctx) != nil:
		return context.Cause(ctx)
	default:
		return p.explain(err, "Model", p.model)
	}
}

// restartedAt is the annotation by which kubectl rollout restart changes the pods of a
// workload.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// roll restarts the workloads whose pods serve the alias.
func (p *promotion) roll(ctx context.Context) error {
	restarted := 0
	var problems []string
	for _, list := range []client.ObjectList{&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &appsv1.DaemonSetList{}} {
		if err := p.List(ctx, list, client.InNamespace(p.namespace)); err != nil {
			problems = append(problems, quote(err))
			continue
		}
		for _, w := range workloadsIn(list) {
			if w.template.Labels[v1alpha1.LabelServeModel] != p.model || w.template.Labels[v1alpha1.LabelServeAlias] != p.alias {
				continue
			}
			if err := p.restart(ctx, w); err != nil {
				problems = append(problems, quote(err))
				continue
			}
			restarted++
		}
	}
	switch {
	case len(problems) > 0:
		return fmt.Errorf("the alias is moved, and not all workloads that serve it are restarted: %s. If this is about permissions, ask a user with the role edit to run kubectl rollout restart", strings.Join(problems, "; "))
	case restarted == 0:
		return p.note("No workload in namespace %s serves the alias %s of Model %s.", p.namespace, p.alias, p.model)
	}
	return nil
}

// servingWorkload is a workload, and the template of its pods.
type servingWorkload struct {
	client.Object
	kind     string
	template *corev1.PodTemplateSpec
}

func workloadsIn(list client.ObjectList) []servingWorkload {
	var found []servingWorkload
	switch list := list.(type) {
	case *appsv1.DeploymentList:
		for i := range list.Items {
			found = append(found, servingWorkload{&list.Items[i], "deployment", &list.Items[i].Spec.Template})
		}
	case *appsv1.StatefulSetList:
		for i := range list.Items {
			found = append(found, servingWorkload{&list.Items[i], "statefulset", &list.Items[i].Spec.Template})
		}
	case *appsv1.DaemonSetList:
		for i := range list.Items {
			found = append(found, servingWorkload{&list.Items[i], "daemonset", &list.Items[i].Spec.Template})
		}
	}
	return found
}

func (p *promotion) restart(ctx context.Context, w servingWorkload) error {
	if deployment, ok := w.Object.(*appsv1.Deployment); ok && deployment.Spec.Paused {
		return fmt.Errorf("deployment/%s is paused: kubectl rollout resume -n %s deployment/%s", w.GetName(), p.namespace, w.GetName())
	}
	before, ok := w.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("%s/%s cannot be copied", w.kind, w.GetName())
	}
	// Two promotions within a second restart twice.
	metav1.SetMetaDataAnnotation(&w.template.ObjectMeta, restartedAt, now().Format(time.RFC3339Nano))
	if err := p.Patch(ctx, w.Object, client.StrategicMergeFrom(before)); err != nil {
		return fmt.Errorf("%s/%s: %s", w.kind, w.GetName(), quote(err))
	}
	_, err := fmt.Fprintf(p.Out, "%s/%s restarted: kubectl rollout status -n %s %s/%s\n", w.kind, w.GetName(), p.namespace, w.kind, w.GetName())
	return err
}
