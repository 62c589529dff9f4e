package command

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// labelWorkflow is Argo's label of a pod with the name of its Workflow.
const labelWorkflow = "workflows.argoproj.io/workflow"

// steps are the containers of a build's pod whose logs are for people, in the order in
// which they work.
var steps = []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport}

func (k *kiln) logs() *cobra.Command {
	l := &logReader{kiln: k}
	cmd := &cobra.Command{
		Use:   "logs VERSION",
		Short: "Print the logs of a build, its steps in their order",
		Example: `  # Follow the build of mv-8, from before its pod exists until its end
  kubectl kiln logs -f mv-8
  # What the first attempt said in one step
  kubectl kiln logs mv-8 --attempt 1 --step mount-check`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: k.completeVersions,
	}
	flags := cmd.Flags()
	flags.BoolVarP(&l.follow, "follow", "f", false, "wait for the pod, and print what the steps log until the attempt has ended")
	flags.Int64Var(&l.attempt, "attempt", 0, "the number of the attempt, from 1; the current one by default")
	flags.StringVar(&l.step, "step", "", "the step: "+strings.Join(steps, ", ")+"; all by default")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := versionName(args[0])
		if err != nil {
			return err
		}
		if l.step != "" && !slices.Contains(steps, l.step) {
			return wrongUsage("%q is not a step: choose one of %s", l.step, strings.Join(steps, ", "))
		}
		if l.attempt < 0 {
			return wrongUsage("--attempt is the number of an attempt, from 1")
		}
		if l.cluster, err = k.connect(); err != nil {
			return err
		}
		if l.pods, err = l.cluster.typed(); err != nil {
			return err
		}
		return l.run(cmd.Context(), name)
	}
	return cmd
}

// logReader prints the logs of one attempt.
type logReader struct {
	*kiln
	cluster *cluster
	pods    kubernetes.Interface
	follow  bool
	attempt int64
	step    string
}

func (l *logReader) run(ctx context.Context, name string) error {
	mv, err := l.cluster.version(ctx, name)
	if err != nil {
		return err
	}
	workflow, err := l.workflow(ctx, mv)
	if err != nil {
		return err
	}
	if l.follow {
		return l.followAttempt(ctx, name, workflow)
	}
	pods, err := l.podsOf(ctx, workflow)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return fmt.Errorf("the pods of Workflow %s do not exist, or no longer: if Argo archives logs, read them with argo logs -n %s %s", workflow, l.cluster.namespace, workflow)
	}
	for i := range pods {
		if err := l.printPod(ctx, &pods[i], len(pods) > 1); err != nil {
			return err
		}
	}
	return nil
}

// workflow returns the name of the attempt's Workflow.
func (l *logReader) workflow(ctx context.Context, mv *v1alpha1.ModelVersion) (string, error) {
	if l.attempt > 0 {
		return l.workflowOfAttempt(ctx, mv)
	}
	if wf := mv.Status.Workflow; wf != nil {
		return wf.Name, nil
	}
	if word, _ := state(mv); !l.follow || word == "Failed" || word == "Ready" {
		return "", fmt.Errorf("ModelVersion %s has no attempt: %s. To know more, run: kubectl kiln why %s -n %s", mv.Name, cmp.Or(mv.Status.Message, "the operator has not observed it"), mv.Name, mv.Namespace)
	}
	name := ""
	err := l.cluster.untilVersion(ctx, mv.Name, func(now *v1alpha1.ModelVersion) (bool, error) {
		if now.Status.Workflow != nil {
			name = now.Status.Workflow.Name
			return true, nil
		}
		if word, reason := state(now); word == "Failed" {
			return false, fmt.Errorf("%s is not built: %s: %s", mv.Name, reason, now.Status.Message)
		}
		return false, nil
	})
	return name, l.cluster.explain(err, "ModelVersion", mv.Name)
}

func (l *logReader) workflowOfAttempt(ctx context.Context, mv *v1alpha1.ModelVersion) (string, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(workflowKind.GroupVersion().WithKind("WorkflowList"))
	err := l.cluster.List(ctx, list, client.InNamespace(mv.Namespace), client.MatchingLabels{v1alpha1.LabelModelVersionUID: string(mv.UID), v1alpha1.LabelAttempt: strconv.FormatInt(l.attempt, 10)})
	if err != nil {
		return "", l.cluster.explain(err, "Workflow", "")
	}
	if len(list.Items) == 0 {
		return "", fmt.Errorf("ModelVersion %s has no attempt %d, or its Workflow was deleted: its attempts are shown by kubectl kiln why %s -n %s", mv.Name, l.attempt, mv.Name, mv.Namespace)
	}
	// A resubmitted Workflow has the number of its original.
	newest := slices.MaxFunc(list.Items, func(a, b metav1.PartialObjectMetadata) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	return newest.Name, nil
}

func (l *logReader) podsOf(ctx context.Context, workflow string) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	if err := l.cluster.List(ctx, list, client.InNamespace(l.cluster.namespace), client.MatchingLabels{labelWorkflow: workflow}); err != nil {
		return nil, l.cluster.explain(err, "Pod", "")
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return list.Items, nil
}

// shown returns the steps whose logs are printed.
func (l *logReader) shown() []string {
	if l.step != "" {
		return []string{l.step}
	}
	return steps
}

// printPod prints what the steps of a pod have logged. A step that has not begun has no
// log.
func (l *logReader) printPod(ctx context.Context, pod *corev1.Pod, named bool) error {
	if named {
		if err := l.note("pod %s:", pod.Name); err != nil {
			return err
		}
	}
	for _, step := range l.shown() {
		if !hasStarted(pod, step) {
			continue
		}
		if err := l.stream(ctx, pod.Name, step); err != nil {
			return err
		}
	}
	return nil
}

// hasStarted reports whether a container of a pod has a log.
func hasStarted(pod *corev1.Pod, container string) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container {
			return status.State.Running != nil || status.State.Terminated != nil
		}
	}
	return false
}

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// stream prints the log of one step, each line after the name of the step.
func (l *logReader) stream(ctx context.Context, pod, step string) error {
	log, err := l.pods.CoreV1().Pods(l.cluster.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: step, Follow: l.follow}).Stream(ctx)
	if err != nil {
		return l.cluster.explain(err, "Pod", pod)
	}
	defer func() { _ = log.Close() }()
	prefix := ""
	if l.step == "" {
		prefix = fmt.Sprintf("%-*s │ ", len(contract.StepStatusReport), step)
	}
	if err := copyLines(l.Out, log, prefix); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the log of step %s ended early: %s", step, quote(err))
	}
	return ctx.Err()
}

// copyLines copies lines, however long, each after a prefix.
func copyLines(to io.Writer, from io.Reader, prefix string) error {
	lines, begins := bufio.NewReader(from), true
	for {
		part, isPrefix, err := lines.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if begins {
			if _, err := io.WriteString(to, prefix); err != nil {
				return err
			}
		}
		if begins = !isPrefix; begins {
			part = append(slices.Clip(part), '\n')
		}
		if _, err := to.Write(part); err != nil {
			return err
		}
	}
}

// followAttempt prints the logs of an attempt's pods as they come, until the attempt has
// ended: a try that fails for a temporary reason is followed by another pod.
func (l *logReader) followAttempt(ctx context.Context, name, workflow string) error {
	running, ended := context.WithCancel(ctx)
	defer ended()
	var last *v1alpha1.ModelVersion
	result := make(chan error, 1)
	go func() {
		defer ended()
		result <- l.cluster.untilVersion(ctx, name, func(mv *v1alpha1.ModelVersion) (bool, error) {
			last = mv
			return isOver(mv, workflow), nil
		})
	}()
	printed := map[types.UID]bool{}
	for {
		pod, err := l.nextPod(running, workflow, printed)
		if err != nil && running.Err() != nil {
			break
		}
		if err != nil {
			return l.cluster.explain(err, "Pod", "")
		}
		printed[pod.UID] = true
		if err := l.followPod(ctx, pod); err != nil {
			return err
		}
	}
	if err := l.cluster.explain(<-result, "ModelVersion", name); err != nil {
		return err
	}
	return l.noteEnd(ctx, last, workflow, printed)
}

// noteEnd prints what the pods that began and ended between two looks have logged, and
// says how the attempt has ended.
func (l *logReader) noteEnd(ctx context.Context, mv *v1alpha1.ModelVersion, workflow string, printed map[types.UID]bool) error {
	pods, err := l.podsOf(ctx, workflow)
	if err != nil {
		return err
	}
	for i := range pods {
		if !printed[pods[i].UID] {
			if err := l.printPod(ctx, &pods[i], false); err != nil {
				return err
			}
		}
	}
	if word, reason := state(mv); word == "Failed" {
		return l.note("%s is not built: %s: %s", mv.Name, reason, mv.Status.Message)
	}
	return l.note("%s: %s", mv.Name, mv.Status.Message)
}

// isOver reports whether an attempt has ended, or another one has begun.
func isOver(mv *v1alpha1.ModelVersion, workflow string) bool {
	wf := mv.Status.Workflow
	return wf == nil || wf.Name != workflow || mv.Status.FinishTime != nil
}

// nextPod waits for a pod of the Workflow that was not printed.
func (l *logReader) nextPod(ctx context.Context, workflow string, printed map[types.UID]bool) (*corev1.Pod, error) {
	var next *corev1.Pod
	err := l.untilPod(ctx, &client.ListOptions{}, client.MatchingLabels{labelWorkflow: workflow}, func(pod *corev1.Pod) bool {
		if printed[pod.UID] {
			return false
		}
		next = pod
		return true
	})
	return next, err
}

// followPod prints the logs of a pod's steps. Each container begins with the pod and
// waits for the step before it.
func (l *logReader) followPod(ctx context.Context, pod *corev1.Pod) error {
	for _, step := range l.shown() {
		started := false
		err := l.untilPod(ctx, &client.ListOptions{}, client.MatchingFields{"metadata.name": pod.Name}, func(now *corev1.Pod) bool {
			started = hasStarted(now, step)
			return started || hasEnded(now) || now.UID != pod.UID
		})
		if errors.Is(err, errPodDeleted) {
			return l.note("pod %s was deleted", pod.Name)
		}
		if err != nil {
			return l.cluster.explain(err, "Pod", pod.Name)
		}
		if !started {
			continue
		}
		if err := l.stream(ctx, pod.Name, step); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

var errPodDeleted = errors.New("the pod was deleted")

// untilPod calls done with the pods that match, now and after every change, until done
// returns true.
func (l *logReader) untilPod(ctx context.Context, opts *client.ListOptions, match client.ListOption, done func(pod *corev1.Pod) bool) error {
	opts.Namespace = l.cluster.namespace
	match.ApplyToList(opts)
	return l.cluster.until(ctx, func() client.ObjectList { return &corev1.PodList{} }, opts, func(event watch.Event) (bool, error) {
		pod, ok := event.Object.(*corev1.Pod)
		switch {
		case event.Type == watch.Error:
			return false, apierrors.FromObject(event.Object)
		case event.Type == watch.Deleted && opts.FieldSelector != nil:
			return false, errPodDeleted
		case !ok || event.Type == watch.Deleted:
			return false, nil
		default:
			return done(pod), nil
		}
	})
}
