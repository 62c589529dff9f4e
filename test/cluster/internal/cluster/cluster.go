// Package cluster brings the one-node cluster up and takes it away.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
	"github.com/modelkiln/modelkiln/test/cluster/internal/debian"
	"github.com/modelkiln/modelkiln/test/cluster/internal/golang"
	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
	"github.com/modelkiln/modelkiln/test/cluster/internal/kube"
	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
	"github.com/modelkiln/modelkiln/test/cluster/internal/progress"
	"github.com/modelkiln/modelkiln/test/cluster/internal/shell"
	"github.com/modelkiln/modelkiln/test/cluster/internal/tool"
)

// Cluster is the cluster of one checkout.
type Cluster struct {
	checkout checkout.Checkout
	report   *progress.Reporter

	// training tells whether the controllers of training are wanted.
	training bool

	// Set on the way up.
	tools    map[string]tool.Tool
	settings kube.Settings
	// images are all that pods of the cluster use without a pull, Modelkiln's own among them.
	images    []image.Spec
	modelkiln []image.Spec
	// digests are those of the images whose names do not change with what is in them, so that a node that runs keeps
	// the ones that it has: all but Modelkiln's and those of training.
	digests map[string]string
	// standIns is a digest of the programs that stand in for file servers.
	standIns string
}

// New gives the cluster of a checkout, whether it runs or not.
func New(of checkout.Checkout, report *progress.Reporter) *Cluster {
	return &Cluster{checkout: of, report: report}
}

// Up brings the cluster up, with the controllers of training if they are asked for. What runs already and is as it should
// be stays as it is.
func (c *Cluster) Up(ctx context.Context, training bool) error {
	if err := checkMachine(); err != nil {
		return err
	}
	lock, err := acquireLock(lockPath, c.checkout.Root)
	if err != nil {
		return err
	}
	defer lock.release()

	state := c.record()
	if c.runsElsewhere(state) {
		return fmt.Errorf("the machine's one cluster runs for %s; end it with: %s", state.Checkout, endCommand(state.Checkout))
	}
	c.training = training
	if err := c.prepare(ctx); err != nil {
		return err
	}
	running, err := c.adopt(ctx, state)
	if err != nil {
		return err
	}
	if !running {
		if err := c.create(ctx); err != nil {
			return err
		}
	}
	if err := c.install(ctx); err != nil {
		return err
	}
	c.report.Say("the cluster is up; the registry is %s; to use it: . %s", c.settings.Registry(), c.checkout.Output("env"))
	return nil
}

// prepare makes all that a cluster consists of, without touching one that runs.
func (c *Cluster) prepare(ctx context.Context) error {
	if err := debian.Ensure(ctx, c.report); err != nil {
		return err
	}
	if err := c.Build(ctx); err != nil {
		return err
	}
	if err := c.prepareStandIns(ctx); err != nil {
		return err
	}
	return c.prepareImages(ctx)
}

// Down ends the cluster and removes everything of it but the logs. That there is none, or that the one there is belongs
// to another checkout, is fine.
func (c *Cluster) Down() error {
	if err := checkMachine(); err != nil {
		return err
	}
	lock, err := acquireLock(lockPath, c.checkout.Root)
	if err != nil {
		return err
	}
	defer lock.remove()

	if state := c.record(); c.runsElsewhere(state) {
		c.report.Say("the machine's one cluster runs for %s and is left alone; to end it: %s", state.Checkout, endCommand(state.Checkout))
		return c.removeEnvironment()
	}
	found, err := node.Destroy()
	if err != nil {
		return err
	}
	if err := c.removeEnvironment(); err != nil {
		return err
	}
	if found {
		c.report.Say("the cluster is gone; its logs are in %s", c.checkout.Output("log"))
	} else {
		c.report.Say("there is no cluster")
	}
	return nil
}

// checkMachine says what makes a cluster impossible here.
func checkMachine() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the cluster runs on Linux only, and this is %s; use a virtual machine with Debian 12", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return errors.New("the cluster makes namespaces and mounts, for which it has to be run as root")
	}
	return nil
}

// record is what is written about the machine's cluster, or nothing. A record that cannot be read is as good as none:
// what runs is found by its control group.
func (c *Cluster) record() *node.State {
	state, err := node.LoadState()
	if err != nil {
		c.report.Say("%v; taking the cluster for a dead one", err)
		return nil
	}
	return state
}

// runsElsewhere tells whether a cluster is alive that another checkout still has a use for.
func (c *Cluster) runsElsewhere(state *node.State) bool {
	return state.Alive() && state.Checkout != c.checkout.Root && checkout.Is(state.Checkout)
}

// endCommand is what to type to end the cluster of a checkout.
func endCommand(checkout string) string {
	return "make -C " + shell.Quote(checkout) + " cluster-down"
}

// adopt takes over the cluster on record if it is whole and was started with the present programs and settings.
func (c *Cluster) adopt(ctx context.Context, state *node.State) (bool, error) {
	if state == nil {
		return false, nil
	}
	c.settings = kube.Settings{Network: state.Network, Tools: c.tools, Images: c.digests, StandIns: c.standIns}
	setup, err := c.settings.Digest()
	if err != nil {
		return false, err
	}
	switch {
	case state.Checkout != c.checkout.Root:
		c.report.Say("a dead cluster of %s is left; cleaning it up", state.Checkout)
	case !state.Complete:
		c.report.Say("an earlier run was broken off; starting over")
	case !state.Alive():
		c.report.Say("of the cluster that ran, %v ended; starting over", state.Dead())
	case state.Setup != setup:
		c.report.Say("the cluster runs other versions or settings than this checkout's; starting over")
	case c.answers(ctx) != nil:
		c.report.Say("the cluster that runs does not answer; starting over")
	default:
		return true, nil
	}
	return false, nil
}

// answers tells whether the API server can be used.
func (c *Cluster) answers(ctx context.Context) error {
	_, err := c.kubectl(ctx, "get", "--raw", "/readyz", "--request-timeout", "10s")
	return err
}

// create brings the node up from nothing, up to a ready node with all images.
func (c *Cluster) create(ctx context.Context) error {
	if _, err := node.Destroy(); err != nil {
		return err
	}
	network, err := node.ChooseNetwork()
	if err != nil {
		return err
	}
	c.settings = kube.Settings{Network: network, Tools: c.tools, Images: c.digests, StandIns: c.standIns}
	setup, err := c.settings.Digest()
	if err != nil {
		return err
	}
	c.report.Say("starting the node (API server %s, subnet %s, which no route of this machine uses)", c.settings.APIServer(), network.Host.Masked())
	if err := c.installStandIns(); err != nil {
		return err
	}
	n, err := node.Create(ctx, c.checkout.Root, setup, network, c.checkout.Log)
	if err != nil {
		return err
	}
	if err := c.settings.Write(c.checkout.Output("kubeconfig")); err != nil {
		return err
	}
	if err := startAll(n, c.settings.BasePrograms()); err != nil {
		return err
	}
	if err := c.loadImages(ctx, n); err != nil {
		return err
	}
	c.report.Say("waiting for the API server and the node")
	if err := n.WaitFor(ctx, "the API server", time.Minute, c.answers); err != nil {
		return err
	}
	if err := startAll(n, c.settings.ClientPrograms()); err != nil {
		return err
	}
	if err := n.WaitFor(ctx, "the node", time.Minute, func(ctx context.Context) error {
		_, err := c.kubectl(ctx, "wait", "--for=condition=Ready", "--timeout=1s", "node/"+node.Name)
		return err
	}); err != nil {
		return err
	}
	return n.Complete()
}

func startAll(n *node.Node, programs []node.Program) error {
	for _, program := range programs {
		if err := n.Start(program); err != nil {
			return err
		}
	}
	return nil
}

// loadImages waits for a new node's containerd and gives it the images.
func (c *Cluster) loadImages(ctx context.Context, n *node.Node) error {
	if err := n.WaitFor(ctx, "containerd", time.Minute, func(ctx context.Context) error {
		_, err := c.ctr(ctx, nil, "version")
		return err
	}); err != nil {
		return err
	}
	return c.importImages(ctx)
}

// install brings everything that runs as pods up to date.
func (c *Cluster) install(ctx context.Context) error {
	if err := c.writeEnvironment(); err != nil {
		return err
	}
	// A node that runs already may lack those of a newer version.
	if err := c.importImages(ctx); err != nil {
		return err
	}
	c.report.Say("installing Argo Workflows %s, the registry and Modelkiln", c.tools["argo"].Version)
	if err := errors.Join(c.applyRegistry(ctx), c.applyArgo(ctx), c.apply(ctx, c.checkout.Source("manifests", "shares"))); err != nil {
		return err
	}
	if err := c.awaitKind(ctx, "clusterworkflowtemplates.argoproj.io"); err != nil {
		return err
	}
	if err := c.applyModelkiln(ctx); err != nil {
		return err
	}
	if c.training {
		if err := c.applyTraining(ctx); err != nil {
			return err
		}
	}
	if err := c.awaitDeployments(ctx, deployments...); err != nil {
		return err
	}
	if c.training {
		if err := c.awaitDeployments(ctx, trainingDeployments...); err != nil {
			return err
		}
	}
	return errors.Join(c.pushBaseImage(ctx), c.pushTrainer(ctx))
}

// Enter becomes a program in the network and the mounts of the node, or a shell when none is named. It does not return.
func (c *Cluster) Enter(argv []string) error {
	if err := checkMachine(); err != nil {
		return err
	}
	containerd, err := tool.Find(c.checkout, "containerd")
	if err != nil {
		return err
	}
	// For ctr, to see the images and containers of the pods.
	environment := map[string]string{
		"PATH":                 containerd.Dir + ":" + os.Getenv("PATH"),
		"CONTAINERD_ADDRESS":   kube.ContainerdSocket,
		"CONTAINERD_NAMESPACE": podsNamespace,
	}
	for name, value := range environment {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	if len(argv) == 0 {
		argv = []string{"/bin/sh"}
	}
	return c.record().Enter(argv)
}

// Build compiles everything that the cluster consists of, and starts nothing.
func (c *Cluster) Build(ctx context.Context) (err error) {
	names := tool.Names()
	if c.training {
		names = append(names, tool.TrainingNames()...)
	}
	c.tools, err = c.ensureTools(ctx, names)
	return err
}

// Assets compiles what tests against a bare API server need, and gives the folder of it.
func (c *Cluster) Assets(ctx context.Context) (string, error) {
	tools, err := c.ensureTools(ctx, tool.AssetTools())
	if err != nil {
		return "", err
	}
	return tool.Assets(c.checkout, tools)
}

func (c *Cluster) ensureTools(ctx context.Context, names []string) (map[string]tool.Tool, error) {
	if err := golang.CheckVersion(ctx, c.checkout.Source()); err != nil {
		return nil, err
	}
	return tool.Ensure(ctx, c.checkout, c.report, names...)
}
