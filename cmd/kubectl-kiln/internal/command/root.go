package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	// exitInterrupted is what shells report of a program that Ctrl-C has ended.
	exitInterrupted = 130
)

// kiln is what the commands share: where they read and write, and the cluster.
type kiln struct {
	genericiooptions.IOStreams
	config *genericclioptions.ConfigFlags
	// started is true once a command runs: errors before that are of its usage.
	started bool
}

// usageError is an error of how a command was called.
type usageError struct{ error }

func wrongUsage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Main runs the command in args, which do not include the program's name, and returns
// the exit code: 0 on success, 1 for a failure, 2 for wrong usage, 130 if ctx was canceled
// before the end. A failure is one sentence on the error output.
func Main(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	// The client's logs would repeat the errors that it returns.
	ctrl.SetLogger(logr.Discard())
	k := &kiln{IOStreams: streams, config: genericclioptions.NewConfigFlags(true)}
	root := k.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	// The error is that of whatever was under way.
	if ctx.Err() != nil {
		fmt.Fprintln(streams.ErrOut, "error: interrupted")
		return exitInterrupted
	}
	var usage usageError
	wrong := errors.As(err, &usage) || !k.started
	fmt.Fprintf(streams.ErrOut, "error: %s\n", strings.TrimSuffix(err.Error(), "\n"))
	if wrong {
		return exitUsage
	}
	return exitFailed
}

func (k *kiln) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "kiln",
		Short: "Work with Models and ModelVersions of Modelkiln",
		Long: `kubectl kiln creates, follows, compares and promotes the versions of models that
Modelkiln packages as container images.

VERSION is the name of a ModelVersion in the namespace, and MODEL that of a Model.
Exit code 1 is a failure, 2 a mistake in the command line, and 130 an interruption.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl kiln"},
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args:          cobra.NoArgs,
	}
	// Its script would complete a program kiln: kubectl asks kubectl_complete-kiln.
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(k.In)
	root.SetOut(k.Out)
	root.SetErr(k.ErrOut)
	k.config.AddFlags(root.PersistentFlags())
	root.AddCommand(
		k.packageCommand(), k.create(), k.get(), k.tree(), k.wait(), k.logs(), k.why(), k.retry(), k.open(),
		k.promote(), k.rollback(), k.usedBy(), k.delete(),
		k.diff(), k.verify(), k.export(),
		k.doctor(), k.version(),
	)
	for _, cmd := range root.Commands() {
		run := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			k.started = true
			return run(cmd, args)
		}
	}
	return root
}

// cluster is the API server, as the user who calls the command sees it.
type cluster struct {
	client.WithWatch
	namespace string
	host      string
	rest      *rest.Config
}

// connect returns the cluster of the kubeconfig file and of the flags. It sends no
// request.
func (k *kiln) connect() (*cluster, error) {
	loader := k.config.ToRawKubeConfigLoader()
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig file cannot be used: %w", err)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig file names no cluster: set KUBECONFIG or --kubeconfig (%w)", err)
	}
	config.UserAgent = "kubectl-kiln/" + versionOf().Version
	// A command sends few requests, which must not wait for each other.
	config.QPS = -1
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig file cannot be used: %w", err)
	}
	return &cluster{WithWatch: c, namespace: namespace, host: config.Host, rest: config}, nil
}

// scheme has the kinds that the commands read and write.
var scheme = newScheme()

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}

// typed returns a client for what the other one has not: logs and discovery.
func (c *cluster) typed() (*kubernetes.Clientset, error) { return kubernetes.NewForConfig(c.rest) }

// connectTo connects to the cluster, and returns the ModelVersion that an argument names.
func (k *kiln) connectTo(ctx context.Context, arg string) (*cluster, *v1alpha1.ModelVersion, error) {
	name, err := versionName(arg)
	if err != nil {
		return nil, nil, err
	}
	c, err := k.connect()
	if err != nil {
		return nil, nil, err
	}
	mv, err := c.version(ctx, name)
	return c, mv, err
}

// version returns a ModelVersion. The error is a sentence.
func (c *cluster) version(ctx context.Context, name string) (*v1alpha1.ModelVersion, error) {
	mv := &v1alpha1.ModelVersion{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, mv); err != nil {
		return nil, c.explain(err, "ModelVersion", name)
	}
	return mv, nil
}

// model returns a Model. The error is a sentence.
func (c *cluster) model(ctx context.Context, name string) (*v1alpha1.Model, error) {
	model := &v1alpha1.Model{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, model); err != nil {
		return nil, c.explain(err, "Model", name)
	}
	return model, nil
}

// versionsOf returns the ModelVersions of a Model, or all if the name is empty, the
// newest first.
func (c *cluster) versionsOf(ctx context.Context, model string, opts ...client.ListOption) ([]v1alpha1.ModelVersion, error) {
	list := &v1alpha1.ModelVersionList{}
	if model != "" {
		opts = append(opts, client.MatchingFields{"spec.modelName": model})
	}
	if err := c.List(ctx, list, opts...); err != nil {
		return nil, c.explain(err, "ModelVersion", "")
	}
	newestFirst(list.Items)
	return list.Items, nil
}

// kindNames are the names of the kinds that arguments of the form KIND/NAME can have, the
// first of them as in "write mv/NAME".
func kindNames(object client.Object) (kind string, names []string) {
	switch object.(type) {
	case *v1alpha1.Model:
		return "Model", []string{"mo", "model", "models", "model.model.kubedl.io"}
	case *v1alpha1.ModelVersion:
		return "ModelVersion", []string{"mv", "modelversion", "modelversions", "modelversion.model.kubedl.io"}
	default:
		return "Pod", []string{"pod", "po", "pods"}
	}
}

// versionName returns the name of the ModelVersion in an argument.
func versionName(arg string) (string, error) { return nameIn(arg, &v1alpha1.ModelVersion{}) }

// modelName returns the name of the Model in an argument.
func modelName(arg string) (string, error) { return nameIn(arg, &v1alpha1.Model{}) }

// nameIn returns the name in an argument of the form NAME or KIND/NAME, as kubectl get
// -o name prints it. object is of the kind that the argument has to be of.
func nameIn(arg string, object client.Object) (string, error) {
	kind, names := kindNames(object)
	wanted, name, found := strings.Cut(arg, "/")
	if !found {
		wanted, name = names[0], arg
	}
	if name == "" {
		return "", wrongUsage("the name of a %s is empty", kind)
	}
	if !slices.Contains(names, wanted) {
		return "", wrongUsage("%q is not a %s: write its name, or %s/NAME", arg, kind, names[0])
	}
	return name, nil
}

// find reads the object that an argument names, into one of the candidates: by KIND/NAME,
// or by a name alone, which is that of the first candidate whose kind has it. The error is
// a sentence.
func (c *cluster) find(ctx context.Context, arg string, candidates ...client.Object) (client.Object, error) {
	wanted, name, named := strings.Cut(arg, "/")
	if !named {
		name = arg
	}
	if name == "" {
		return nil, wrongUsage("the name is empty")
	}
	var kinds, forms []string
	for _, object := range candidates {
		kind, names := kindNames(object)
		forms = append(forms, names[0]+"/NAME")
		if named && !slices.Contains(names, wanted) {
			continue
		}
		kinds = append(kinds, kind)
		err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, object)
		if err == nil {
			return object, nil
		}
		if named || !apierrors.IsNotFound(err) || isMissingKind(err) {
			return nil, c.explain(err, kind, name)
		}
	}
	if len(kinds) == 0 {
		return nil, wrongUsage("%q has none of the forms NAME, %s", arg, strings.Join(forms, ", "))
	}
	return nil, fmt.Errorf("namespace %s has no %s with the name %s: list ModelVersions with: kubectl kiln get -n %s", c.namespace, strings.Join(kinds, " or "), name, c.namespace)
}

// isTerminal reports whether what is written to w is shown to a user at once.
func isTerminal(w io.Writer) bool { return printers.IsTerminal(w) && os.Getenv("TERM") != "dumb" }

// now returns the time. Commands show ages, and decide nothing by it.
func now() time.Time { return time.Now() }

// note writes a sentence to the error output, so that the output has only data.
func (k *kiln) note(format string, args ...any) error {
	_, err := fmt.Fprintf(k.ErrOut, format+"\n", args...)
	return err
}
